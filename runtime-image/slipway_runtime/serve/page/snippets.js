// The request as it would be written in a shell, in Python and in JavaScript.
const METHODS = {
  "text-classification": ["text_classification", [["inputs"]]],
  "token-classification": ["token_classification", [["inputs"]]],
  "feature-extraction": ["feature_extraction", [["inputs"]]],
  "sentence-similarity": ["sentence_similarity", [["source_sentence"], ["sentences", "other_sentences"]]],
  "fill-mask": ["fill_mask", [["inputs"]]],
  "question-answering": ["question_answering", [["question", "question"], ["context", "context"]]],
  "table-question-answering": ["table_question_answering", [["table", "table"], ["query", "query"]]],
  "zero-shot-classification": ["zero_shot_classification", [["inputs"], ["candidate_labels", "candidate_labels"]]],
  "text-generation": ["text_generation", [["inputs"]]],
  summarization: ["summarization", [["inputs"]]],
  translation: ["translation", [["inputs"]]],
  "automatic-speech-recognition": ["automatic_speech_recognition", [["inputs"]]],
  "audio-classification": ["audio_classification", [["inputs"]]],
  "text-to-speech": ["text_to_speech", [["inputs"]], 'open("answer.wav", "wb").write(answer)'],
  "image-classification": ["image_classification", [["inputs"]]],
  "zero-shot-image-classification": ["zero_shot_image_classification", [["inputs"], ["candidate_labels", "candidate_labels"]]],
  "object-detection": ["object_detection", [["inputs"]]],
  "image-segmentation": ["image_segmentation", [["inputs"]]],
  "image-to-text": ["image_to_text", [["inputs"]]],
  "visual-question-answering": ["visual_question_answering", [["image", "image"], ["question", "question"]]],
  "document-question-answering": ["document_question_answering", [["image", "image"], ["question", "question"]]],
  "text-to-image": ["text_to_image", [["inputs"]], 'answer.save("answer.png")'],
};

export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

// request: {task, path, body, values, media: [widget names], secret, chat}
function curl(request) {
  const lines = [`curl ${shell(request.url)}`];
  if (request.secret) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  const bare = Object.keys(request.body).every((name) => name === "inputs" || !Object.keys(request.body[name]).length);
  if (request.media[0] === "inputs" && bare) {
    return [...lines, "-H 'Content-Type: application/octet-stream'", `--data-binary @${shell(request.file)}`].join(" \\\n  ");
  }
  const body = JSON.stringify(request.body);
  lines.push("-H 'Content-Type: application/json'");
  if (!request.media.length) return [...lines, `-d ${shell(body)}`].join(" \\\n  ");
  const here = body.replace(/[\\`$]/g, "\\$&").replace("BASE64", () => `$(base64 -w0 ${shell(request.file)})`);
  return `${[...lines, "-d @- <<EOF"].join(" \\\n  ")}\n${here}\nEOF`;
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function python(request) {
  const key = request.secret ? ', api_key=os.environ["TOKEN"]' : "";
  const head = `${request.secret ? "import os\n\n" : ""}from huggingface_hub import InferenceClient\n\nclient = InferenceClient(${literal(request.root)}${key})\n`;
  if (request.chat) {
    return `${head}stream = client.chat_completion(\n    ${literal(request.body.messages)},\n    max_tokens=${request.body.max_tokens},\n    stream=True,\n)\nfor part in stream:\n    if part.choices:\n        print(part.choices[0].delta.content or "", end="", flush=True)`;
  }
  const known = METHODS[request.task];
  if (!known || !request.main) return plainPython(request);
  const [method, names, use] = known;
  const written = names.map(([name, keyword]) => `${keyword ? `${keyword}=` : ""}${literal(request.media.includes(name) ? request.file : request.values[name])}`);
  const more = Object.entries(request.body.parameters ?? {}).filter(([name]) => !names.some(([own]) => own === name));
  const all = [...written, ...more.map(([name, value]) => `${name}=${literal(value)}`)];
  return `${head}answer = client.${method}(${all.join(", ")})\n${use ?? "print(answer)"}`;
}

function plainPython(request) {
  const read = request.media.length ? `\nmedia = base64.b64encode(open(${literal(request.file)}, "rb").read()).decode()` : "";
  const header = request.secret ? ', headers={"Authorization": f"Bearer {os.environ[\'TOKEN\']}"}' : "";
  const imports = [read && "import base64", request.secret && "import os"].filter(Boolean).map((line) => `${line}\n`).join("");
  const body = literal(request.body).replace('"BASE64"', "media");
  return `${imports}${imports ? "\n" : ""}import httpx\n${read}\nanswer = httpx.post(${literal(request.url)}, json=${body}${header}, timeout=120)\nprint(answer.json())`;
}

function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${literal(v)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function javascript(request) {
  const secret = request.secret ? "\n    Authorization: `Bearer ${process.env.TOKEN}`," : "";
  const read = request.media.length ? `import { readFile } from "node:fs/promises";\n\nconst media = (await readFile(${JSON.stringify(request.file)})).toString("base64");\n` : "";
  const body = JSON.stringify(request.body, null, 2).replaceAll("\n", "\n  ").replace('"BASE64"', "media");
  const end = request.chat
    ? "for await (const part of response.body.pipeThrough(new TextDecoderStream())) console.log(part);"
    : request.binary ? 'console.log((await response.blob()).size, "bytes");' : "console.log(await response.json());";
  return `${read}const response = await fetch(${JSON.stringify(request.url)}, {\n  method: "POST",\n  headers: {\n    "Content-Type": "application/json",${secret}\n  },\n  body: JSON.stringify(${body}),\n});\n${end}`;
}
