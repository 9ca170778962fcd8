// Images and sound: chosen, dropped or recorded; sent as base64.
import { el } from "./dom.js";

export function image(label) {
  const preview = el("img", { className: "preview", alt: "the chosen image", hidden: true });
  return picker(label, "image/*", preview, () => []);
}

export function audio(label) {
  const player = el("audio", { controls: true, hidden: true, attributes: { "aria-label": "the chosen recording" } });
  return picker(label, "audio/*,video/webm", player, (choose, fail) => (recordable() ? [recorder(choose, fail)] : []));
}

function picker(label, accept, preview, extras) {
  let file = null;
  const changed = () => node.dispatchEvent(new Event("input", { bubbles: true }));
  const choose = (chosen) => {
    if (!chosen) return;
    if (preview.src) URL.revokeObjectURL(preview.src);
    file = chosen;
    preview.src = URL.createObjectURL(chosen);
    preview.hidden = false;
    note.textContent = `${chosen.name || "recording"}, ${Math.max(1, Math.round(chosen.size / 1024))} kB`;
    changed();
  };
  const fail = (message) => (note.textContent = message);
  const input = el("input", { type: "file", accept, className: "unseen", on: { change: () => choose(input.files[0]) } });
  const button = el("label", { className: "button" }, input, `Choose ${label === "Image" ? "an image" : "a recording"}`);
  const note = el("span", { className: "quiet" }, "or drop a file here");
  const drop = el("div", { className: "drop" }, el("div", { className: "line" }, button, ...extras(choose, fail)), note, preview);
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    choose(event.dataTransfer.files[0]);
  });
  const node = el("div", { className: "field" }, el("span", { className: "label" }, label), drop);
  const get = () => {
    if (!file) throw new Error(`${label}: choose a file first`);
    return base64(file);
  };
  return { node, get, set: choose, shown: () => "BASE64", file: () => file, isMedia: true };
}

const recordable = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

function recorder(choose, fail) {
  let running = null;
  const button = el("button", { type: "button" }, "Record");
  button.addEventListener("click", async () => {
    if (running) return running.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      running = new MediaRecorder(stream);
      running.ondataavailable = (event) => parts.push(event.data);
      running.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        choose(new File(parts, "recording.webm", { type: running.mimeType || "audio/webm" }));
        running = null;
        button.textContent = "Record";
      };
      running.start();
      button.textContent = "Stop recording";
    } catch {
      fail("the microphone cannot be used; choose a file");
    }
  });
  return button;
}

export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("the file cannot be read"));
    reader.readAsDataURL(blob);
  });
}

// Samples made here, since nothing is fetched from elsewhere.
export function samplePicture() {
  const canvas = el("canvas", { width: 320, height: 240 });
  const c = canvas.getContext("2d");
  const fill = (colour, draw) => {
    c.fillStyle = colour;
    c.beginPath();
    draw();
    c.fill();
  };
  fill("#9fd3ff", () => c.rect(0, 0, 320, 240));
  fill("#6fbf5f", () => c.rect(0, 170, 320, 70));
  fill("#ffd24a", () => c.arc(262, 52, 28, 0, 7));
  fill("#d9663d", () => c.rect(60, 105, 110, 85));
  fill("#7a3b25", () => { c.moveTo(45, 108); c.lineTo(115, 55); c.lineTo(185, 108); });
  fill("#fff3d6", () => c.rect(78, 125, 28, 26));
  fill("#54301f", () => c.rect(122, 140, 28, 50));
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], "house.png", { type: "image/png" }))));
}

export function sampleSound(seconds = 1.5, rate = 16000) {
  const count = Math.round(seconds * rate);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const word = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  word(36, "data"); view.setUint32(40, 2 * count, true);
  for (let i = 0; i < count; i += 1) {
    const tone = [440, 554, 659][Math.floor((3 * i) / count)];
    view.setInt16(44 + 2 * i, 9000 * Math.sin((2 * Math.PI * tone * i) / rate), true);
  }
  return new File([view], "tones.wav", { type: "audio/wav" });
}
