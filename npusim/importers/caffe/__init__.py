"""Caffe networks: prototxt and caffemodel."""
