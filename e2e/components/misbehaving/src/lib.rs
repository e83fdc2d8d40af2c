//! Does what the path says: `/ok` behaves, and the others do not.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/ok` | stores a value and reads it |
//! | `/loop`, `/wait` | computes, or waits, for ever |
//! | `/memory` | takes memory without end |
//! | `/values`, `/bytes` | makes empty values without end, or values of 1 MiB |
//! | `/requests`, `/headers`, `/bodies` | makes outgoing requests without end, or headers, or bodies |
//! | `/send` | sends a request to another server |
//! | `/panic`, `/silent` | panics, or returns without an answer |
//! | `/half`, `/late` | panics after half of an answer, or after all of it |
//! | `/half-of-two` | panics after half of an answer, when it has finished another one |
//! | `/error` | answers with an error, and a long text in it |
//! | `/half-loop` | computes for ever after half of an answer |
//! | `/endless` | answers without end |
//! | `/print` | writes to its standard output and error |
//! | `/after` | stores `after` when its answer is finished |
//! | `/after-go` | the same, when `go` has a value |
//! | `/set-many/N` | stores N values in one batch |
//! | `/get-many/N` | reads them in one batch, and holds them all |

mod http;
mod store;

use std::io::Write as _;

use http::{Answer, Request};

fn handle(request: Request, answer: Answer) {
    let path = request.path();
    let number = |name: &str| path.strip_prefix(name)?.parse().ok();
    let text = match path.as_str() {
        "/ok" => store::set_and_get(),
        "/loop" => {
            eprintln!("begun");
            endless_loop()
        }
        "/wait" => http::wait(),
        "/memory" => memory(),
        "/values" => store::values(),
        "/bytes" => store::bytes(),
        "/requests" => http::outgoing_requests(),
        "/headers" => http::headers(),
        "/bodies" => http::bodies(),
        "/send" => http::send(),
        "/panic" => panic!("as asked"),
        "/silent" => return std::mem::forget(answer),
        "/half" => return answer.half(),
        "/half-of-two" => return answer.half_of_two(),
        "/error" => return answer.error(&"of its own ".repeat(100_000)),
        "/half-loop" => return answer.half_and_loop(),
        "/endless" => return answer.endless(),
        "/print" => print(),
        "/late" => {
            answer.send("all of it");
            panic!("after the answer");
        }
        "/after" => {
            answer.send("first");
            return store::after();
        }
        "/after-go" => {
            answer.send("first");
            while !store::has("go") {
                http::pause();
            }
            return store::after();
        }
        _ => match (number("/set-many/"), number("/get-many/")) {
            (Some(keys), _) => store::set_many(keys),
            (_, Some(keys)) => store::get_many(keys),
            _ => format!("unknown path {path}"),
        },
    };
    answer.send(&text);
}

pub fn endless_loop() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn memory() -> String {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1024 * 1024]);
        std::hint::black_box(&held);
    }
}

fn print() -> String {
    println!("to the output\u{1b}[31m");
    eprintln!("to the error");
    print!("without a line end");
    std::io::stdout().flush().unwrap();
    "printed".to_owned()
}
