#!/bin/sh
# A streamed chat with curl: -N shows each word as it comes.
set -eu

curl -sSN --fail-with-body "${ROUTEUR_URL:-http://127.0.0.1:8080}/v1/chat/completions" \
  -H "Authorization: Bearer ${ROUTEUR_KEY:-any}" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "'"${MODEL:-echo}"'",
    "stream": true,
    "messages": [{"role": "user", "content": "Say hello in three languages."}]
  }'
