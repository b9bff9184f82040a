"""Servers that answer as they are asked to, also wrongly: python answering.py KIND [TLS_FOLDER].

They say a line when they are ready.
"""

import asyncio
import socket
import ssl
import sys

PAGES = {
    "/204": "204 No Content\r\n\r\n",
    "/portal": "302 Found\r\nLocation: http://login.example/?a=b\r\n\r\n",
    "/credit": "200 OK\r\nContent-Length: 20\r\n\r\nYour credit is used.",
    "/chunks": "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    "4\r\nYour\r\n7;x=y\r\n credit\r\n0\r\n\r\n",
    "/broken": "200 OK\r\nTransfer-Encoding: chunked\r\n\r\nYour credit\r\n",
    "/long": "200 OK\r\nX: " + "x" * 200_000,
    "/endless": "200 OK\r\n\r\n" + "x" * 200_000,
}
CODES = {"nxdomain": 3, "servfail": 2, "refused": 5}


def listening(family: socket.AddressFamily, kind: socket.SocketKind, port: int) -> socket.socket:
    opened = socket.socket(family, kind)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.bind(("::", port))
    return opened


def tcp() -> None:
    """Connections that nobody accepts, on port 443."""
    listening(socket.AF_INET6, socket.SOCK_STREAM, 443).listen(512)
    print("ready", flush=True)
    asyncio.run(asyncio.sleep(1000))


def dns() -> None:
    """An alias and an address for every name, unless the name asks for something else."""
    server = listening(socket.AF_INET6, socket.SOCK_DGRAM, 53)
    print("ready", flush=True)
    while True:
        query, whom = server.recvfrom(512)
        name = query[13 : 13 + query[12]].decode()
        end = query.index(0, 12) + 5
        question, kind = query[12:end], query[end - 3]
        six = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
        data = bytes([192, 0, 2, 7]) if kind == 1 else six
        record = bytes([0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len(data)]) + data
        records = bytes([0xC0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xC0, 12]) + record
        code = CODES.get(name, 0)
        counts = bytes([0, 1, 0, 0 if code else 2, 0, 0, 0, 0])
        head = query[:2] + bytes([0x81, 0x80 | code]) + counts
        answer = head + question + (b"" if code else records)
        match name:
            case "silent":
                continue
            case "forged":
                server.sendto(bytes([query[0] ^ 1]) + answer[1:], whom)
                server.sendto(head + b"\5other\0\0\1\0\1", whom)
                server.sendto(b"short", whom)
                continue
            case "damaged":
                answer = answer[:-5]
            case "upper":
                answer = head + question.upper() + records
        server.sendto(answer, whom)


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        if path == "/host":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + head.encode())
        elif path in PAGES:
            writer.write(b"HTTP/1.1 " + PAGES[path].encode())
        if path in ("/host", "/endless"):
            writer.close()
        await reader.read()
    except (OSError, EOFError):
        pass


async def ssh(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def http(folder: str = "") -> None:
    """Pages on port 80 (and 443, with a certificate); something else on port 22."""
    await asyncio.start_server(page, ["0.0.0.0", "::"], 80)
    await asyncio.start_server(ssh, ["0.0.0.0", "::"], 22)
    if folder:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(f"{folder}/cert", f"{folder}/key")
        await asyncio.start_server(page, ["0.0.0.0", "::"], 443, ssl=trust)
    print("ready", flush=True)
    await asyncio.sleep(1000)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "http":
        asyncio.run(http(*arguments))
    else:
        {"tcp": tcp, "dns": dns}[kind]()
