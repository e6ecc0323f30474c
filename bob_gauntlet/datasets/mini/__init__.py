"""Mini datasets, made of real photos and digits inside scikit-image and scikit-learn; nothing is downloaded."""
