"""`from_pretrained`, `save_pretrained` and `push_to_hub`, with a local server that speaks the protocol of the Hub."""

import base64
import json
import subprocess
import sys
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from conftest import clean_environment
from test_export import content, random_restorer

from diracdiff import Restorer, load
from diracdiff.checkpoints import locations

pytest.importorskip("huggingface_hub", reason="needs the extra hf: pip install 'diracdiff[hf]'")


def same_images(first, second):
    y = torch.rand(2, 3, 16, 16)
    return torch.equal(first.restore(y, "t=0"), second.restore(y, "t=0"))


def test_a_saved_model_restores_bit_for_bit(tmp_path):
    model = random_restorer(increment=True)
    model.save_pretrained(tmp_path / "out", license="mit", about="## Limits")
    assert set(content(tmp_path / "out")) == {locations.WEIGHTS, locations.CONFIG, locations.CARD}
    assert same_images(Restorer.from_pretrained(tmp_path / "out"), model)
    card = (tmp_path / "out" / locations.CARD).read_text()
    assert "license: mit" in card and card.endswith("## Limits\n")


def test_saving_again_replaces_the_weights_and_keeps_the_card(tmp_path):
    first, second = random_restorer(), random_restorer()
    first.save_pretrained(tmp_path)
    (tmp_path / locations.CARD).write_text("edited")
    second.save_pretrained(tmp_path)
    assert same_images(Restorer.from_pretrained(tmp_path), second)
    assert (tmp_path / locations.CARD).read_text() == "edited"


def test_local_models_need_no_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(locations, "BUNDLED", tmp_path)
    model = random_restorer()
    model.save_pretrained(tmp_path / "deblur")
    model.save(tmp_path / "model.ckpt")
    for name in ("builtin:deblur", tmp_path / "deblur", str(tmp_path / "model.ckpt")):
        assert same_images(Restorer.from_pretrained(name), model)
    for call in (Restorer.from_pretrained, load, model.push_to_hub):
        name = "hf:me/deblur" if call is load else "me/deblur"
        with pytest.raises(ValueError, match=r"^hf:me/deblur: needs huggingface_hub\. Run pip install"):
            call(name)


class Hub(BaseHTTPRequestHandler):
    """Model repositories with one branch: {repo_id: {file: bytes}} in `server.repositories`."""

    def reply(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        parts, repositories = self.path.strip("/").split("/"), self.server.repositories
        if self.headers["Authorization"] != "Bearer hf_test":
            return self.reply({"error": "Invalid username or password."}, 401)
        if parts == ["api", "repos", "create"]:
            request = json.loads(lines[0])
            name = f"{request.get('organization', 'me')}/{request['name']}"
            repositories.setdefault(name, {"visibility": request.get("visibility")})
            return self.reply({"url": f"http://{self.headers['Host']}/{name}"})
        if parts == ["api", "validate-yaml"]:
            return self.reply({"errors": [], "warnings": []})
        name = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = json.loads(lines[0])["files"]
            return self.reply({"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in files]})
        for item in map(json.loads, lines):
            if item["key"] == "file":
                repositories[name][item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            else:
                repositories[name]["title"] = item["value"]["summary"]
        return self.reply({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{SHA}", "commitOid": SHA})

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = {key: value for key, value in self.server.repositories.get(name, {}).items() if "." in key}
        if not files:
            return self.reply({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        if "tree" in parts:
            entries = [
                {"type": "file", "path": k, "size": len(v), "oid": sha1(v).hexdigest()} for k, v in files.items()
            ]
            return self.reply(entries)
        if "resolve" in parts:
            self.server.downloads.append(parts[-1])
            return self.reply(files[parts[-1]], ETag=sha1(files[parts[-1]]).hexdigest(), X_Repo_Commit=SHA)
        return self.reply({"id": name, "sha": SHA, "siblings": [{"rfilename": file} for file in files]})

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


SHA = "0" * 40
CLIENT = """
import sys, torch
from diracdiff import Restorer
model = Restorer.from_pretrained(sys.argv[1])
print(model.push_to_hub("me/deblur", commit_message="First", private=True, token="hf_test"))
options = {"cache_dir": sys.argv[2], "token": "hf_test"}
loaded = Restorer.from_pretrained("me/deblur", revision="main", **options)
cached = Restorer.from_pretrained("me/deblur", local_files_only=True, **options)
for other in (loaded, cached):
    weights = other.denoiser.state_dict()
    assert all(torch.equal(weights[k], w) for k, w in model.denoiser.state_dict().items())
for call in (lambda: Restorer.from_pretrained("me/none"), lambda: model.push_to_hub("me/deblur", token="hf_other")):
    try:
        call()
    except ValueError as error:
        print(error)
"""


def test_a_model_is_uploaded_to_and_downloaded_from_the_hub(tmp_path):
    random_restorer().save_pretrained(tmp_path / "out", repo_id="me/deblur")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repositories, server.downloads = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    environment = clean_environment(HF_ENDPOINT=url, HF_HOME=str(tmp_path / "home"), no_proxy="127.0.0.1")
    command = [sys.executable, "-c", CLIENT, str(tmp_path / "out"), str(tmp_path / "cache")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    server.shutdown()
    server.server_close()
    assert run.returncode == 0, run.stderr
    commit, missing, refused = run.stdout.splitlines()
    assert commit == f"{url}/me/deblur/commit/{SHA}"
    assert missing.startswith("hf:me/none: cannot be downloaded (") and "Check the name" in missing
    assert refused.startswith("hf:me/deblur: cannot be uploaded (") and "Check the name" in refused
    assert server.repositories == {
        "me/deblur": {"visibility": "private", "title": "First", **content(tmp_path / "out")}
    }
    assert set(server.downloads) == {locations.WEIGHTS, locations.CONFIG}
