"""Models from other libraries and for them; none of these libraries is needed.

`Model.load`, `save` and `load_weights` read and write the files of other libraries through
`formats`; the modules with the formats are imported when they are needed.
"""

__all__: list[str] = []
