"""Networks: tensors in, tensors out. They know no paths, devices or files."""
