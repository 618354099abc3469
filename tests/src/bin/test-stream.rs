//! A server of bytes to put behind Weir, which speaks first: says its name and a line end, then sends everything back.
//! `test-stream NAME ADDRESS:PORT`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("a name");
    let listener = TcpListener::bind(args.next().expect("an address").as_str()).expect("the address is free");
    for stream in listener.incoming().flatten() {
        let name = name.clone();
        std::thread::spawn(move || serve(stream, &name));
    }
}

fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
