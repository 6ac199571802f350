#!/bin/sh
# sh client.sh photo.jpg [http://localhost:8501/v1/models/resnet20]
model=${2:-http://localhost:8501/v1/models/resnet20}
# JSON has no bytes: an image goes as base64 under the key b64.
printf '{"instances": [{"b64": "%s"}]}' "$(base64 <"$1" | tr -d '\n')" |
  curl --silent --show-error --fail --data-binary @- "$model:predict"
