"""Images of models, of their training and of their data, drawn by matplotlib.

Every function returns a `matplotlib.figure.Figure`, which a notebook shows and
`figure.savefig("curves.png")` writes to a file; no screen is needed, and no window opens. With
`ax` (or `axes`, where there are several panels) it draws into yours. Colours are those of Okabe and
Ito, which colour-blind eyes tell apart, and lines differ in style and marker too, for print.

- `training`: learning curves, the learning-rate range test, weights and gradients as histograms;
- `images`: images, filters, feature maps, the worst mistakes, saliency maps and Grad-CAM;
- `classes`: the confusion matrix, and the decision boundary in the plane;
- `network`: the layers as a diagram.

matplotlib, the extra `plot`, is imported when a function is called: `import nn` does without.

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
