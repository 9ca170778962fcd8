"""`make demo`: from a fresh machine to a served model that answers, pauses, resumes and goes, in one command.

Tells what it does, what a user would type for it, and how long each step took. Standard library only, so that it
needs nothing installed first. With SLIPWAY_KUBECONFIG and SLIPWAY_REGISTRY it uses that cluster, in two namespaces of
its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.demo import model
from tests.support.kube import ROOT, CommandFailed, Environment, Kube, condition, environment, http, images, wait
from tests.support.mirror_pod import MirrorPod
from tests.support.release import Release

SYSTEM, DEMO = "slipway-demo-system", "slipway-demo"
EXAMPLE, ENDPOINT = "examples/01-sentence-similarity.yaml", "similarity"
PATCH = f'kubectl patch mep {ENDPOINT} -n {DEMO} --type=merge -p \'{{"spec": {{"paused": %s}}}}\''
SENTENCES = ["A kitten naps on the sofa.", "Shares fell sharply on Monday.", "My dog is asleep on the couch."]
SOURCE = "A cat sleeps on the couch."
CLIENT = """
import json, sys
from huggingface_hub import InferenceClient
request = json.loads(sys.argv[2])
scores = InferenceClient(model=sys.argv[1]).sentence_similarity(request["source"], request["sentences"])
print(json.dumps(scores))
"""


class Story:
    """Numbered steps with the time that each took."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.times: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str, *commands: str) -> Iterator[None]:
        say(f"\n\033[1m{len(self.times) + 1}. {title}\033[0m")
        for command in commands:
            say(f"   \033[36m$ {command}\033[0m")
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.times.append((title, took))
        say(f"   \033[2m{took:.1f} s\033[0m")

    def total(self) -> float:
        return time.monotonic() - self.started


def main() -> int:
    story, where = Story(), environment()
    try:
        return tell(story, where)
    except CommandFailed as failure:
        say(f"\nThe demo stops here: {failure}")
        say("What runs is left as it is, to be looked at. `make demo` starts over.")
        return 1


def tell(story: Story, where: Environment) -> int:
    prepare(story, where)
    kube, built = Kube(where), images()
    mirror = MirrorPod(kube, DEMO, built.runtime)
    release = Release(kube, SYSTEM, built, watch=[DEMO], hub=mirror.url)

    with story.step("Install Slipway", f"helm install slipway helm/slipway -n {SYSTEM} --create-namespace"):
        clear(kube, release)
        kube.namespace(SYSTEM)
        kube.namespace(DEMO)
        release.install()
        show(kube, "get", "deployment,pods", "-n", SYSTEM)

    with story.step("Publish the real all-MiniLM-L6-v2 on a small mirror of the Hub"):
        mirror.start()
        with tempfile.TemporaryDirectory() as folder:
            mirror.publish(model.NAME, model.lay_out(Path(folder)))

    with story.step("Choose a model, apply a ModelEndpoint", f"kubectl apply -f {EXAMPLE}"):
        kube.kubectl("apply", "-n", DEMO, "-f", str(ROOT / EXAMPLE))
        follow(kube)
        show(kube, "get", "mep", "-n", DEMO)

    with story.step("Ask it in the cluster, with InferenceClient", f"InferenceClient(model={url(kube)!r})"):
        judge(ask_client(mirror, kube))

    forward = f"kubectl port-forward -n {DEMO} service/{ENDPOINT} 8080:80"
    with story.step("Ask it from here, with curl", forward, "curl http://127.0.0.1:8080/ -d '…'"):
        judge(ask_curl(kube))

    with story.step("Pause: no compute, same URL", PATCH % "true"):
        pause(kube)

    with story.step("Resume and ask again", PATCH % "false"):
        kube.patch("mep", ENDPOINT, DEMO, {"spec": {"paused": False}})
        follow(kube)
        judge(ask_client(mirror, kube))

    with story.step("Delete: nothing is left", f"kubectl delete mep {ENDPOINT}"):
        kube.kubectl("delete", "mep", ENDPOINT, "-n", DEMO)
        wait(lambda: not leftovers(kube), 90, "children and pods of the endpoint are gone")
        say("   no Deployment, Service, ServiceAccount or pod of it is left")

    finish(story, where)
    return 0


def prepare(story: Story, where: Environment) -> None:
    """Cluster and images; the long part on a fresh machine."""
    if where.local:
        with story.step("A real Kubernetes on this machine, and the two images", "make cluster-up images"):
            command(sys.executable, "hack/cluster", "up", "--images")
    else:
        with story.step("Build the two images and push them to your registry", "make images"):
            command(sys.executable, "hack/cluster", "images")


def clear(kube: Kube, release: Release) -> None:
    """What an earlier demo left, or one that was interrupted."""
    if kube.find("namespace", SYSTEM, "") is not None:
        release.uninstall()
    kube.delete_namespaces(DEMO, SYSTEM)


def follow(kube: Kube) -> None:
    """Prints each change of phase or message until the endpoint is Ready."""
    said = ""

    def ready() -> bool:
        nonlocal said
        endpoint = kube.get("mep", ENDPOINT, DEMO)
        now = condition(endpoint, "Ready")
        line = f"{endpoint.get('status', {}).get('phase', 'Pending')}: {now.get('message', 'accepted')}"
        if line != said:
            say(f"   {line}")
            said = line
        return now.get("status") == "True" and now.get("observedGeneration") == endpoint["metadata"]["generation"]

    wait(ready, 600, "the endpoint is Ready", interval=0.3)


def ask_client(mirror: MirrorPod, kube: Kube) -> list[float]:
    request = json.dumps({"source": SOURCE, "sentences": SENTENCES})
    scores: list[float] = json.loads(mirror.python(CLIENT, url(kube), request).splitlines()[-1])
    return scores


def ask_curl(kube: Kube) -> list[float]:
    """With curl itself where there is one; a bare Debian has none."""
    body = {"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}}
    with kube.forward(f"service/{ENDPOINT}", DEMO, 80) as base:
        if shutil.which("curl") is None:
            say("   (there is no curl on this machine; asked with Python instead)")
            status, answer = http(f"{base}/", body)
            if status != 200:
                raise CommandFailed(f"the endpoint answered {status}: {answer}")
        else:
            json_type = ("-H", "Content-Type: application/json")
            said = kube.run("curl", "-sS", "--fail-with-body", f"{base}/", *json_type, "-d", json.dumps(body)).stdout
            answer = json.loads(said)
    scores: list[float] = answer
    return scores


def judge(scores: list[float]) -> None:
    """Shows scores that a person can judge, and fails if they make no sense."""
    say(f"   how close is each to “{SOURCE}”?")
    for score, sentence in sorted(zip(scores, SENTENCES, strict=True), reverse=True):
        say(f"   {score:6.3f}  {'█' * max(0, round(score * 30)):30}  {sentence}")
    if max(scores) != scores[0] or min(scores) != scores[1]:
        raise CommandFailed(f"the similarities make no sense: {scores}")


def pause(kube: Kube) -> None:
    before = url(kube)
    kube.patch("mep", ENDPOINT, DEMO, {"spec": {"paused": True}})
    seconds = wait(lambda: not kube.all("pods", DEMO, f"slipway.dev/endpoint={ENDPOINT}"), 60, "the pods are gone")
    wait(lambda: condition(kube.get("mep", ENDPOINT, DEMO), "Ready").get("reason") == "Paused", 10, "status: Paused")
    kube.get("service", ENDPOINT, DEMO)
    say(f"   the pods were gone after {seconds:.1f} s; Service and URL are kept: {before}")
    show(kube, "get", "mep", "-n", DEMO)


def leftovers(kube: Kube) -> list[str]:
    found = kube.all(
        "deployments,services,serviceaccounts,poddisruptionbudgets,pods", DEMO, f"slipway.dev/endpoint={ENDPOINT}"
    )
    return [f"{obj['kind']} {obj['metadata']['name']}" for obj in found]


def url(kube: Kube) -> str:
    address: str = kube.get("mep", ENDPOINT, DEMO)["status"]["url"]
    return address


def finish(story: Story, where: Environment) -> None:
    say(f"\n\033[1mDone in {story.total():.0f} s.\033[0m")
    for title, took in story.times:
        say(f"   {took:7.1f} s  {title}")
    say("\nSlipway and the mirror are still running. What to type next:")
    if where.local:
        say('   eval "$(python3 hack/cluster env)"        # kubectl, helm, KUBECONFIG')
    say(f"   kubectl apply -n {DEMO} -f {EXAMPLE}")
    say(f"   kubectl get mep -n {DEMO} -w")
    say("   kubectl explain mep.spec --recursive")
    say("   make test")
    end = "; make cluster-down" if where.local else ""
    say(f"To stop: helm uninstall slipway -n {SYSTEM}; kubectl delete namespace {DEMO} {SYSTEM}{end}")


def show(kube: Kube, *args: str) -> None:
    for line in kube.kubectl(*args).stdout.splitlines():
        say(f"   {line}")


def command(*words: str) -> None:
    """Runs a step that shows its own progress."""
    if subprocess.run(words, cwd=ROOT, check=False).returncode:
        raise CommandFailed(f"{' '.join(words[1:])} failed; what it said stands above")


def say(text: str) -> None:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        for code in ("\033[1m", "\033[2m", "\033[36m", "\033[0m"):
            text = text.replace(code, "")
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
