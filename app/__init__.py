"""The earlier scheduler's package name, kept so that its how-to works word for word. The product is `outdial`."""
