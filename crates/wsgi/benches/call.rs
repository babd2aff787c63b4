//! The cost of calling an application, from the bytes of the request to those of the answer:
//! `cargo bench --package rwsgi-wsgi`.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails is to stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use exchange::{After, Body, Extent, Gone, Head, Lines, Reply, Request, Version};
use rwsgi_wsgi::{App, Fetched, Interpreter, Python, Spec, Start, Target};

const BROWSER: &str = "Host: site.example\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
    Sec-CH-UA: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\nSec-CH-UA-Mobile: ?0\r\n\
    Sec-CH-UA-Platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: sessionid=4w1k5q9c0m8z7v2b6n3x\r\n";

struct Count(usize);

impl Reply for Count {
    fn fits(&self, _: usize) -> bool {
        true
    }

    fn send(&mut self, _: Option<&Head<'_>>, data: &[u8], _: After) -> Result<(), Gone> {
        self.0 += data.len();
        Ok(())
    }

    fn send_file(&mut self, _: Option<&Head<'_>>, _: Extent) -> Result<(), Gone> {
        Ok(())
    }
}

fn call(criterion: &mut Criterion) {
    Interpreter::start(&Start::default()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches");
    Python::attach(|py| {
        let spec = Spec {
            target: Target::File {
                path: folder.join("hello.py"),
                callable: None,
            },
            paste_global: Vec::new(),
            imports: Vec::new(),
            python_path: Vec::new(),
            env: Vec::new(),
            script_name: String::new(),
            multithread: false,
            multiprocess: false,
        };
        let app = App::load(py, &spec).unwrap();
        for (name, fields, connections) in [
            ("a field", "Host: site.example\r\n", 1),
            ("14 fields that come again", BROWSER, 1),
            ("14 fields of many connections", BROWSER, 10_000),
        ] {
            let (mut count, mut port) = (Count(0), 0);
            criterion.bench_function(&format!("call, {name}"), |bencher| {
                bencher.iter(|| {
                    port = (port + 1) % connections;
                    let request = Request {
                        method: b"GET",
                        path: b"/",
                        query: b"",
                        version: Version::Http11,
                        https: false,
                        remote_addr: b"192.0.2.7",
                        remote_port: port,
                        server_name: b"site.example",
                        server_port: 80,
                        authority: b"",
                        fields: Lines::new(fields.as_bytes()),
                        body: Body::Memory(b""),
                    };
                    app.answer(py, &request, Fetched::Nothing, &mut count);
                });
            });
            black_box(count.0);
        }
    });
}

criterion_group!(benches, call);
criterion_main!(benches);
