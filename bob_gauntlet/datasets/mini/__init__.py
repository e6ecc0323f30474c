"""Mini datasets: real photos and digits that come inside scikit-image and scikit-learn, never downloaded."""
