"""Video re-identification models: the ResNet-50 trunk, its block kinds, and where units go."""

from strf_cuda.models.insertion import insert_units
from strf_cuda.models.resnet import VideoResNet, create_model
from strf_cuda.models.weights import load_imagenet_weights, load_trained_weights

__all__ = ["VideoResNet", "create_model", "insert_units", "load_imagenet_weights", "load_trained_weights"]
