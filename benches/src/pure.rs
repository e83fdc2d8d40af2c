//! The parts that talk to nobody: what they take of the time of a batch.

use std::hint::black_box;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use criterion::{Criterion, Throughput};
use eventual_batch_engine::KeyEncoding;
use eventual_batch_nats_provider::wrpc::Parameters;
use tokio_util::codec::Decoder as _;

use crate::progress::{PlannedRow, planned};

const BATCH: usize = 1000;

/// The benchmarks, as one row, and how long they take.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    planned("pure", [time * 5 / 4 * 7])
}

/// Measures each for about this long. Criterion prints the lower bound, the estimate and the upper
/// bound of the time of a batch of 1000 keys.
pub(crate) fn print(time: Duration) {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(time / 4)
        .measurement_time(time);
    keys(&mut criterion);
    parameters(&mut criterion);
}

fn names() -> Vec<String> {
    (0..BATCH).map(|n| format!("orders.2026.{n}")).collect()
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1000 keys");
    group.throughput(Throughput::Elements(BATCH as u64));
    let keys = names();
    for (name, encoding) in [
        ("as they are", KeyEncoding::None),
        ("base64", KeyEncoding::Base64),
    ] {
        group.bench_function(format!("to the bucket, {name}"), |bench| {
            bench.iter(|| {
                keys.iter()
                    .filter(|key| encoding.encode(black_box(key)).is_ok())
                    .count()
            });
        });
        let encoded = keys.iter().filter_map(|key| encoding.encode(key).ok());
        let encoded: Vec<_> = encoded.collect();
        group.bench_function(format!("from the bucket, {name}"), |bench| {
            bench.iter(|| {
                let decoded = encoded.iter().map(|key| encoding.decode(black_box(key)));
                decoded.flatten().count()
            });
        });
    }
    group.finish();
}

fn parameters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parameters");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut keys = head();
    for key in names() {
        string(&mut keys, key.as_bytes());
    }
    group.bench_function("get-many of 1000", |bench| {
        bench.iter(|| read::<(String, Vec<String>)>(&keys));
    });
    for size in [128, 1024] {
        let mut pairs = head();
        for key in names() {
            string(&mut pairs, key.as_bytes());
            string(&mut pairs, &vec![b'x'; size]);
        }
        group.bench_function(format!("set-many of 1000 × {size} B"), |bench| {
            bench.iter(|| read::<(String, Vec<(String, Bytes)>)>(&pairs));
        });
    }
    group.finish();
}

/// The name of a bucket, and the length of the list.
fn head() -> BytesMut {
    let mut wire = BytesMut::new();
    string(&mut wire, b"default");
    length(&mut wire, BATCH);
    wire
}

fn string(wire: &mut BytesMut, bytes: &[u8]) {
    length(wire, bytes.len());
    wire.extend_from_slice(bytes);
}

/// As LEB128.
fn length(wire: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        wire.put_u8(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    wire.put_u8(length.to_le_bytes()[0]);
}

fn read<P: Parameters>(wire: &BytesMut) -> bool {
    let mut decoder = P::decoder(BATCH);
    decoder
        .decode(&mut wire.clone())
        .is_ok_and(|parameters| parameters.is_some())
}
