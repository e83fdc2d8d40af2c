#!/bin/sh
# Builds the component and composes the adapter into it: build/http_batch_composed.wasm.
set -eu
cargo build --release --target wasm32-wasip2
mkdir -p build
eventual-batch compose \
    "${CARGO_TARGET_DIR:-target}/wasm32-wasip2/release/http_batch.wasm" -o build/http_batch_composed.wasm
