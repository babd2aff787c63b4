//! `wsgi.file_wrapper`: which files are sent as descriptors, and which part of them.

use super::support::{Ask, Recorder, attached, load};

/// Sends `GET /` to an application that answers with the variable `file` of `code`; the file `path` contains `A` to `Z`.
fn get(code: &str) -> Recorder {
    ask("GET", "", code)
}

fn ask(method: &'static str, headers: &str, code: &str) -> Recorder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    std::fs::write(&path, (b'A'..=b'Z').collect::<Vec<u8>>()).unwrap();
    let code = code.replace('\n', "\n ");
    let code = format!(
        "import gzip, io, os, tempfile\npath = {path:?}\ndef app(e, s):\n {code}\n s('200 OK', [{headers}])\n return e['wsgi.file_wrapper'](file, 10)"
    );
    attached(|py| {
        let app = load(py, &code).unwrap();
        Ask {
            method,
            ..Ask::get("/")
        }
        .send(py, &app)
    })
}

#[test]
fn a_regular_file_is_sent_from_its_position() {
    for code in [
        "file = open(path, 'rb')\nfile.seek(20)",
        "file = open(path, 'rb')\nfile.read(20)",
        "file = open(path, 'rb', buffering=0)\nfile.seek(20)",
        "file = open(path, 'r+b')\nfile.seek(20)",
        "file = tempfile.TemporaryFile()\nfile.write(b'...UVWXYZ')\nfile.seek(3)",
        "file = tempfile.NamedTemporaryFile()\nfile.write(b'...UVWXYZ')\nfile.seek(3)",
        "file = open(path, 'rb')\nos.unlink(path)\nfile.seek(20)",
    ] {
        let answer = get(code);
        assert_eq!(answer.parts_as_text(), ["200 UVWXYZ File"], "{code}");
        assert_eq!(answer.header("Content-Length"), Some("6"), "{code}");
    }
}

#[test]
fn data_that_is_not_flushed_is_sent() {
    let answer =
        get("file = open(path, 'r+b')\nfile.write(b'abc')\nfile.seek(0)\nfile.write(b'x')");
    assert_eq!(
        answer.parts_as_text(),
        ["200 bcDEFGHIJKLMNOPQRSTUVWXYZ File"]
    );
}

#[test]
fn other_objects_are_read_block_by_block() {
    for (code, parts_as_text) in [
        (
            "file = io.BytesIO(b'0123456789ab')",
            &["0123456789 More", "ab More", " Complete"][..],
        ),
        (
            "ends = os.pipe()\nos.write(ends[1], b'pipe')\nos.close(ends[1])\nfile = open(ends[0], 'rb')",
            &["pipe More", " Complete"],
        ),
        (
            "open(path, 'wb').write(gzip.compress(b'plain'))\nfile = gzip.open(path)",
            &["plain More", " Complete"],
        ),
        (
            "class Upper(io.BufferedReader):\n def read(self, n):\n  return super().read(n).lower()\nfile = Upper(io.FileIO(path))\nfile.seek(24)",
            &["yz More", " Complete"],
        ),
        (
            "class Upper(io.FileIO):\n def readinto(self, b):\n  return 0\nfile = io.BufferedReader(Upper(path))",
            &[" Complete"],
        ),
        (
            "file = open(path, 'rb')\nread = file.read\nfile.seek(24)\nfile.read = lambda n: read(n).lower()",
            &["yz More", " Complete"],
        ),
        (
            "class File:\n blocks = [b'a', b'b']\n def read(self, n):\n  return self.blocks.pop() if self.blocks else b''\nfile = File()",
            &["b More", "a More", " Complete"],
        ),
        (
            "file = open('/proc/self/comm', 'rb')\nfile.read()\n",
            &[" Complete"],
        ),
    ] {
        let mut expected: Vec<String> = parts_as_text
            .iter()
            .map(|part| (*part).to_owned())
            .collect();
        expected[0].insert_str(0, "200 ");
        assert_eq!(get(code).parts_as_text(), expected, "{code}");
    }
}

#[test]
fn a_file_in_text_mode_breaks_the_answer_off() {
    assert_eq!(get("file = open(path)").parts_as_text(), [" Broken"]);
}

#[test]
fn a_smaller_content_length_ends_the_file_early() {
    let answer = ask(
        "GET",
        "('Content-Length', '3')",
        "file = open(path, 'rb')\nfile.seek(1)",
    );
    assert_eq!(answer.parts_as_text(), ["200 BCD File"]);
    let answer = ask("GET", "('Content-Length', '0')", "file = open(path, 'rb')");
    assert_eq!(answer.parts_as_text(), ["200  Complete"]);
    let answer = ask("GET", "('Content-Length', '27')", "file = open(path, 'rb')");
    assert_eq!(answer.parts_as_text(), [" Broken"]);
}

#[test]
fn the_answer_to_head_has_the_length_of_the_file() {
    let answer = ask("HEAD", "", "file = open(path, 'rb')");
    assert_eq!(answer.parts_as_text(), ["200  Complete"]);
    assert_eq!(answer.header("Content-Length"), Some("26"));
}

#[test]
fn the_wrapper_closes_the_file_and_has_no_close_without_one() {
    let answer = attached(|py| {
        let code = r"
import io
class Closing(io.BytesIO):
    closed_times = 0
    def close(self):
        Closing.closed_times += 1
        super().close()
class Bare:
    read = io.BytesIO(b'bare').read
def app(environ, start_response):
    wrapper = environ['wsgi.file_wrapper']
    assert not hasattr(wrapper(Bare()), 'close')
    start_response('200 OK', [('X-Closed', str(Closing.closed_times))])
    return wrapper(Closing(b'x'))
";
        let app = load(py, code).unwrap();
        Ask::get("/").send(py, &app);
        Ask::get("/").send(py, &app)
    });
    assert_eq!(answer.header("X-Closed"), Some("1"));
}

#[test]
fn data_of_write_comes_before_the_file() {
    let answer = attached(|py| {
        let code = r"
import tempfile
def app(environ, start_response):
    file = tempfile.TemporaryFile()
    file.write(b'file')
    file.seek(0)
    start_response('200 OK', [])(b'written ')
    return environ['wsgi.file_wrapper'](file)
";
        Ask::get("/").send(py, &load(py, code).unwrap())
    });
    assert_eq!(answer.parts_as_text(), ["200 written  More", "file File"]);
}
