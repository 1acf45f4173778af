// The page: draw or open an image, run the model by ONNX Runtime Web, show the probabilities.
//
// model.json says what the model takes and returns; model.onnx is the model; ort/ holds the
// runtime. Nothing else is loaded, and no image leaves the page.

import * as ort from "./ort/ort.wasm.min.mjs";
import { channelsOf, digit, plane, resize } from "./images.js";

const get = (id) => document.getElementById(id);
const sheet = get("sheet");
const PEN = 18; // pixels of the sheet
const PATCHES = 7; // along each side, for the parts that the network looks at
const SHOWN = 10; // classes at most

let about; // the contents of model.json
let session;
let input; // {data, planes} of the image on the sheet, or null for an empty sheet
let runs = Promise.resolve(); // the runtime computes one batch at a time
let waiting = 0; // how many of them have not ended
window.settled = () => waiting === 0;

// ------------------------------------------------------------------------------------ the model

async function load() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  about = await (await fetched("model.json")).json();
  const bytes = new Uint8Array(await (await fetched("model.onnx")).arrayBuffer());
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

// The probabilities of each image; data holds `count` images.
async function predict(data, count) {
  const { channels, height, width } = about;
  const size = channels * height * width;
  const batch = about.any_batch ? count : 1;
  const rows = [];
  for (let start = 0; start < count; start += batch) {
    const part = data.subarray(start * size, (start + batch) * size);
    const tensor = new ort.Tensor("float32", part, [batch, channels, height, width]);
    const results = await session.run({ [about.input]: tensor });
    const values = results[about.output].data;
    const classes = values.length / batch;
    for (let i = 0; i < batch; i++) {
      rows.push(probabilities(Array.from(values.subarray(i * classes, (i + 1) * classes))));
    }
  }
  return rows;
}

function probabilities(outputs) {
  if (about.activation === "sigmoid") outputs = outputs.map((value) => 1 / (1 + Math.exp(-value)));
  if (about.activation === "softmax") {
    const most = Math.max(...outputs);
    const powers = outputs.map((value) => Math.exp(value - most));
    const total = powers.reduce((sum, value) => sum + value, 0);
    outputs = powers.map((value) => value / total);
  }
  return outputs.length === 1 ? [1 - outputs[0], outputs[0]] : outputs; // no and yes
}

function nameOf(index) {
  return about.class_names ? about.class_names[index] : String(index);
}

// ------------------------------------------------------------------------------------ the sheet

const context = () => sheet.getContext("2d", { willReadFrequently: true });

function clear() {
  context().fillStyle = "#fff";
  context().fillRect(0, 0, sheet.width, sheet.height);
  context().lineWidth = PEN;
  context().lineCap = context().lineJoin = "round";
  context().strokeStyle = "#000";
  opened = null;
  update(null);
}

let last = null; // the last point of the current stroke
let opened = null; // the image from a file in the size of the model's input, if there is one

function point(event) {
  const box = sheet.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * sheet.width) / box.width,
    ((event.clientY - box.top) * sheet.height) / box.height,
  ];
}

function begin(event) {
  if (!event.isPrimary || event.button > 0) return;
  if (opened) clear();
  sheet.setPointerCapture(event.pointerId);
  last = point(event);
  extend(event);
}

function extend(event) {
  if (!last || !event.isPrimary) return;
  for (const each of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
    const next = point(each);
    context().beginPath();
    context().moveTo(...last);
    context().lineTo(...next);
    context().stroke();
    last = next;
  }
  update(read());
}

function end(event) {
  if (event.isPrimary) last = null;
}

// Show the middle of an image, cut to the shape of the model's input.
async function open(file) {
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    say(`The browser cannot read ${file.name} as an image.`);
    return;
  }
  clear();
  drawMiddle(sheet, bitmap);
  opened = new OffscreenCanvas(about.width, about.height);
  drawMiddle(opened, bitmap);
  update(read());
}

// Draw the largest part of an image that has the shape of the canvas, from its middle.
function drawMiddle(canvas, bitmap) {
  const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.imageSmoothingQuality = "high";
  brush.fillStyle = "#fff"; // behind transparent images
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

// The planes of the sheet as the model takes them; null for an empty sheet of a digit.
function read() {
  if (about.digits) {
    const found = digit(channelsOf(sheet, 1)[0]);
    return found && [found];
  }
  if (opened) return channelsOf(opened, about.channels);
  const [drawn] = channelsOf(sheet, 1);
  return [resize(invert(drawn), about.height, about.width)]; // drawn in black, learned in white
}

function invert(image) {
  return { ...image, data: image.data.map((value) => 1 - value) };
}

// ------------------------------------------------------------------------------------ the result

// Predict the planes and show the result; of many calls in a row only the last one is computed.
function update(planes) {
  const mine = (input = planes && { planes, data: numbers(planes) });
  waiting++;
  runs = runs
    .then(() => (mine === input ? show(mine) : null))
    .catch((error) => say(error.message))
    .finally(() => waiting--);
}

function numbers(planes) {
  const [low, high] = about.range;
  const size = about.height * about.width;
  const data = new Float32Array(planes.length * size);
  planes.forEach((each, i) => data.set(each.data.map((value) => low + (high - low) * value), i * size));
  return data;
}

async function show(mine) {
  window.lastResult = null; // what was computed last, for tests and the console
  if (!mine) {
    bars(null);
    picture(get("seen"), Array.from({ length: about.channels }, () => plane(about.width, about.height)));
    picture(get("parts"), [plane(about.width, about.height)]);
    return;
  }
  const [found] = await predict(mine.data, 1);
  if (mine !== input) return;
  bars(found);
  picture(get("seen"), mine.planes);
  const falls = await occluded(mine, found);
  if (mine !== input) return;
  picture(get("parts"), mine.planes, falls);
  window.lastResult = { input: Array.from(mine.data), probabilities: found };
}

// How much the probability of the best class falls if a patch is covered with the mean value
// (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", section 4.2).
async function occluded({ data }, found) {
  const { height, width, channels } = about;
  const best = found.indexOf(Math.max(...found));
  const [tall, wide] = [Math.ceil(height / PATCHES), Math.ceil(width / PATCHES)];
  const covered = [];
  for (let top = 0; top < height; top += tall) {
    for (let left = 0; left < width; left += wide) {
      const copy = data.slice();
      for (let c = 0; c < channels; c++) {
        const whole = data.subarray(c * height * width, (c + 1) * height * width);
        const fill = about.digits ? about.range[0] : whole.reduce((sum, value) => sum + value, 0) / whole.length;
        for (let y = top; y < Math.min(top + tall, height); y++) {
          const start = (c * height + y) * width;
          copy.fill(fill, start + left, start + Math.min(left + wide, width));
        }
      }
      covered.push({ top, left, copy });
    }
  }
  const batch = new Float32Array(covered.length * data.length);
  covered.forEach(({ copy }, i) => batch.set(copy, i * data.length));
  const rows = await predict(batch, covered.length);
  const falls = plane(width, height);
  covered.forEach(({ top, left }, i) => {
    const fall = Math.max(0, found[best] - rows[i][best]);
    for (let y = top; y < Math.min(top + tall, height); y++) {
      falls.data.fill(fall, y * width + left, y * width + Math.min(left + wide, width));
    }
  });
  return falls;
}

function bars(found) {
  const classes = about.class_names?.length ?? about.classes;
  const values = found ?? Array(classes).fill(0);
  const best = found ? found.indexOf(Math.max(...found)) : -1;
  let order = values.map((_, i) => i);
  if (order.length > SHOWN) order = order.sort((i, j) => values[j] - values[i]).slice(0, SHOWN);
  get("bars").replaceChildren(...order.map((i) => barOf(nameOf(i), values[i], i === best, !found)));
}

function barOf(name, value, isBest, isEmpty) {
  const row = document.createElement("li");
  const part = (kind, text = "") => {
    const element = document.createElement("span");
    element.className = kind;
    element.textContent = text;
    return element;
  };
  const [trough, bar] = [part("trough"), document.createElement("div")];
  bar.className = "bar";
  bar.style.width = `${100 * value}%`;
  trough.append(bar);
  row.classList.toggle("best", isBest);
  row.append(part("name", name), trough, part("value", isEmpty ? "" : `${(100 * value).toFixed(1)}%`));
  row.title = name;
  return row;
}

// Draw planes on a canvas, one as grey values or three as colours, with a red one over them.
function picture(canvas, planes, over = null) {
  const [{ width, height }] = planes;
  [canvas.width, canvas.height] = [width, height];
  const image = canvas.getContext("2d").createImageData(width, height);
  const most = over ? Math.max(1e-6, ...over.data) : 1;
  for (let i = 0; i < width * height; i++) {
    const red = over ? (0.75 * over.data[i]) / most : 0;
    [0, 1, 2].forEach((c) => {
      const value = planes[Math.min(c, planes.length - 1)].data[i];
      image.data[4 * i + c] = 255 * ((1 - red) * value + red * (c === 0 ? 1 : 0.15));
    });
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function say(text) {
  get("status").textContent = text;
  get("status").hidden = !text;
}

// ------------------------------------------------------------------------------------ the start

async function start() {
  try {
    await load();
  } catch (error) {
    say(`The model could not be loaded: ${error.message}`);
    return;
  }
  const { channels, height, width } = about;
  document.title = get("title").textContent = about.name;
  get("about").textContent =
    `Input: ${channels === 1 ? "grey" : "RGB"} image, ${width} × ${height} pixels. ` +
    `${about.class_names?.length ?? about.classes} classes. The model runs in this page; no image leaves it.`;
  get("seen-caption").textContent = about.digits
    ? "Its input: the drawing in the size, position and stroke width of MNIST’s digits"
    : "Its input: the image in the size of the model’s input";
  const scale = Math.max(1, 280 / Math.max(height, width));
  [sheet.width, sheet.height] = [Math.round(width * scale), Math.round(height * scale)];
  if (channels === 1) {
    sheet.classList.add("draw");
    sheet.addEventListener("pointerdown", begin);
    sheet.addEventListener("pointermove", extend);
    for (const kind of ["pointerup", "pointercancel"]) sheet.addEventListener(kind, end);
    get("hint").textContent = about.digits
      ? "Draw a digit with the mouse or a finger, or open an image of one."
      : "Draw with the mouse or a finger, or open an image.";
  } else {
    get("hint").textContent = "Open an image, or drop one here.";
  }
  get("clear").addEventListener("click", clear);
  get("file").addEventListener("change", (event) => open(event.target.files[0]));
  sheet.addEventListener("dragover", (event) => event.preventDefault());
  sheet.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
  get("main").hidden = false;
  say("");
  clear();
}

start();
