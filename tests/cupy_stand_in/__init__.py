"""A folder for `sys.path`, on which `import cupy` finds the stand-in."""
