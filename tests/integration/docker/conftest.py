"""What the docker runtime's tests share."""

import pytest


@pytest.fixture(autouse=True)
def current_image(node_image):
    """Each test here needs the node image as the sources are now."""
