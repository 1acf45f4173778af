"""PyTorch: weights in (`weights`), and models out as source (`source`, `modules`, `code`)."""
