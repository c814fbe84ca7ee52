"""Results as one HTML page that holds all it needs: images with their patches, classes, packs (``run --html``)."""
