"""An offer to speak another protocol is ignored, and the body after it is read as what it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.connecting import FORM, Server, upload

OFFERS = {
    "java": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eHh4\r\nSec-WebSocket-Version: 13",
    "unknown": "Connection: keep-alive, upgrade\r\nUpgrade: TLS/1.0, something/2",
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("packets", ["one", "two", "many"])
def test_an_upload_with_an_offer_to_upgrade_is_read(offer: str, packets: str, shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(upload(offer) + (FORM if packets == "one" else b""))
        if packets == "two":
            raw.send(FORM)
        elif packets == "many":
            for at in range(0, len(FORM), 7):
                raw.send(FORM[at : at + 7])
        assert raw.answer().status == 201
        # and the connection goes on as it was
        raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert raw.answer().json == {"status": "live"}
    assert "WebSocket" not in shared.log()


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_upload_in_chunks_with_an_offer_to_upgrade_is_read(offer: str, shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(upload(offer, "Transfer-Encoding: chunked", length=False))
        for piece in (FORM[:40], FORM[40:]):
            raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        raw.send(b"0\r\n\r\n")
        assert raw.answer().status == 201


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_after_an_offer_is_never_a_request_of_its_own(offer: str, servers: Server) -> None:
    inner = b"DELETE /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with servers.connect() as raw:
        raw.send(servers.get(offer, f"Content-Length: {len(inner)}"))
        raw.send(inner)
        assert raw.answer().status == 200
        raw.send(servers.get())
        assert raw.answer().status == 200  # and not the inner one's 404 or 405


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_requests_that_follow_an_offer_are_answered_in_order(offer: str, servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(servers.get(offer) + b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + servers.get(offer))
        assert [raw.answer().status for _ in range(3)] == [200, 404, 200]


def test_curl_uploads_with_http2_offered(shared: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    form = ["-F", "folderId=f1", "-F", f"file=@{tmp_path / 'a.txt'}"]
    command = ["curl", "-s", "--http2", "-o", "/dev/null", "-w", "%{http_code}", *form, f"{shared.url}/files"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "201"


JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.*;
public class Upload { public static void main(String[] a) throws Exception {
  var body = HttpRequest.BodyPublishers.ofFile(Path.of(a[1]));
  var request = HttpRequest.newBuilder(URI.create(a[0])).header("Content-Type", "multipart/form-data; boundary=bb");
  var client = HttpClient.newHttpClient();
  for (int i = 0; i < 2; i++)
    System.out.println(client.send(request.POST(body).build(), HttpResponse.BodyHandlers.ofString()).statusCode());
} }
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java here")
def test_javas_default_client_uploads(shared: Server, tmp_path: Path) -> None:
    (tmp_path / "Upload.java").write_text(JAVA)
    (tmp_path / "form").write_bytes(FORM)
    command = ["java", str(tmp_path / "Upload.java"), f"{shared.url}/files", str(tmp_path / "form")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout == "201\n201\n"
