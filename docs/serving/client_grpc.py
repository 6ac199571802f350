"""python client_grpc.py photo.jpg [localhost:8500 [resnet20]].

With the messages and the stub of tensorflow-serving-api.
"""

import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

defaults = ("localhost:8500", "resnet20")
photo, address, model = (*sys.argv[1:], *defaults[len(sys.argv) - 2 :])
request = predict_pb2.PredictRequest()
request.model_spec.name = model
request.model_spec.signature_name = "serving_default"
with open(photo, "rb") as file:
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([file.read()]))
with grpc.insecure_channel(address) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=10)
outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
if not outputs["valid"][0]:
    sys.exit(f"{photo} is no image that can be used")
for name, probability in zip(
    outputs["classes"][0], outputs["probabilities"][0], strict=True
):
    print(f"{probability:7.2%}  {name.decode()}")
