#!/bin/sh
# Builds the component and composes the adapter into it: build/http_batch_composed.wasm.
set -eu
adapter=${EVENTUAL_BATCH_ADAPTER:?set it to the path of eventual_batch_adapter.wasm}
cargo build --release --target wasm32-wasip2
mkdir -p build
eventual-batch-compose --adapter "$adapter" \
    "${CARGO_TARGET_DIR:-target}/wasm32-wasip2/release/http_batch.wasm" -o build/http_batch_composed.wasm
