"""python client_rest.py photo.jpg [http://localhost:8501/v1/models/resnet20]."""

import base64
import json
import sys
import urllib.request

defaults = ("http://localhost:8501/v1/models/resnet20",)
photo, model = (*sys.argv[1:], *defaults[len(sys.argv) - 2 :])
with open(photo, "rb") as file:
    image = base64.b64encode(file.read()).decode()
body = json.dumps({"instances": [{"b64": image}]}).encode()
with urllib.request.urlopen(f"{model}:predict", body, timeout=10) as answer:
    (prediction,) = json.load(answer)["predictions"]
if not prediction["valid"]:
    sys.exit(f"{photo} is no image that can be used")
for name, probability in zip(
    prediction["classes"], prediction["probabilities"], strict=True
):
    print(f"{probability:7.2%}  {name}")
