"""Plots of models, training and data with matplotlib.

Every function returns a `matplotlib.figure.Figure`, which notebooks display and
`figure.savefig("curves.png")` saves; no display is needed and no window opens. Pass `ax` (or `axes`
for several panels) to draw into existing Axes. The colours are the colour-blind safe palette of
Okabe and Ito, and lines also differ in style and marker.

- `training`: learning curves, the learning-rate range test, weights and gradients as histograms;
- `images`: images, filters, feature maps, worst mistakes, saliency maps and Grad-CAM;
- `classes`: the confusion matrix and the decision boundary;
- `network`: the layers as a diagram.

matplotlib (the extra `plot`) is imported when a function is called, not by `import nn`.

>>> import nn
>>> figure = nn.plot.learning_curves({"loss": [0.9, 0.5, 0.3], "val_loss": [0.9, 0.6, 0.5]})
>>> [line.get_label() for line in figure.axes[0].lines]
['training', 'validation']
"""

from .classes import confusion_matrix, decision_boundary
from .images import feature_maps, filters, grad_cam, images, saliency, worst_mistakes
from .network import architecture
from .training import gradient_histograms, learning_curves, lr_range, weight_histograms

__all__ = [
    "architecture",
    "confusion_matrix",
    "decision_boundary",
    "feature_maps",
    "filters",
    "grad_cam",
    "gradient_histograms",
    "images",
    "learning_curves",
    "lr_range",
    "saliency",
    "weight_histograms",
    "worst_mistakes",
]
