// The live parts of the pages: "Draw a digit", and cells whose code runs in the browser.
//
// Nothing is loaded before a click. The elements are made by docs/hooks.py, which also sets their
// addresses.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#f0e442", "#56b4e9", "#e69f00", "#999999"];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...children);
  return made;
}

function button(text, onClick, primary = false) {
  const made = element("button", { type: "button", class: primary ? "nn-primary" : "" }, text);
  made.addEventListener("click", onClick);
  return made;
}

const NOT_SERVED =
  "Opened from the disk, the page may not run programs: serve the folder by " +
  "“python -m http.server” and open http://localhost:8000.";

// ------------------------------------------------------------------------------ draw a digit

for (const place of document.querySelectorAll(".nn-draw")) {
  const start = button("Draw a digit", () => {
    if (location.protocol === "file:") {
      place.append(element("p", {}, NOT_SERVED));
      return;
    }
    const frame = element("iframe", { src: place.dataset.page, title: "Draw a digit", class: "nn-frame" });
    frame.addEventListener("load", () => {
      const page = frame.contentDocument;
      // As high as its page, whatever is shown there.
      const fit = () => (frame.style.height = `${page.body.scrollHeight + 2}px`);
      new ResizeObserver(fit).observe(page.body);
      fit();
    });
    place.replaceChildren(frame);
  }, true);
  place.querySelector("p").append(start);
}

// ------------------------------------------------------------------------------------- cells

let worker; // one for all cells of a page
let current; // the cell that is running

function workerFor({ pyodide, live }) {
  if (worker) return worker;
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => current?.show(data));
  worker.addEventListener("error", (event) => {
    current?.show({ status: `It could not be started: ${event.message ?? "no worker"}`, ended: false });
  });
  worker.postMessage({ pyodide: absolute(pyodide), archive: absolute(`${live}nn.zip`) });
  return worker;
}

function absolute(address) {
  return new URL(address, location.href).href;
}

class Cell {
  constructor(place) {
    this.place = place;
    this.block = place.nextElementSibling; // the highlighted code
    this.code = this.block.querySelector("code").textContent.replace(/\n+$/, "\n");
    this.editor = null;
    this.runButton = button("Run", () => this.run(), true);
    this.stopButton = button("Stop", () => this.stop());
    this.editButton = button("Edit", () => this.edit());
    this.status = element("span", { role: "status" });
    this.canvas = element("canvas", { class: "nn-view", width: 480, height: 480, hidden: "" });
    this.log = element("pre", { class: "nn-log", hidden: "", "aria-label": "Output" });
    this.stopButton.hidden = true;
    const bar = element("div", { class: "nn-bar" }, this.runButton, this.stopButton, this.editButton, this.status);
    this.block.after(bar, element("div", { class: "nn-result" }, this.canvas, this.log));
    this.epochs = [];
  }

  edit() {
    if (this.editor) {
      this.editor.value = this.code;
      return;
    }
    const lines = this.code.split("\n").length;
    this.editor = element("textarea", { class: "nn-editor", rows: lines, spellcheck: "false", "aria-label": "Code" });
    this.editor.value = this.code;
    this.block.replaceWith(this.editor);
    this.editor.focus();
    this.editButton.textContent = "Reset";
  }

  run() {
    if (location.protocol === "file:") {
      this.status.textContent = NOT_SERVED;
      return;
    }
    if (current) {
      this.status.textContent = "Another cell is running.";
      return;
    }
    current = this;
    this.epochs = [];
    this.log.textContent = "";
    this.canvas.hidden = true;
    this.runButton.disabled = true;
    this.stopButton.hidden = false;
    workerFor(this.place.dataset).postMessage({ code: this.editor ? this.editor.value : this.code });
  }

  stop() {
    worker?.terminate();
    worker = undefined;
    this.show({ status: "Stopped.", ended: false });
  }

  // One message of the worker.
  show(data) {
    if ("status" in data) this.status.textContent = data.status;
    if ("text" in data) {
      this.log.hidden = false;
      this.log.textContent += `${data.text}\n`;
    }
    if (data.figures) this.showEpoch(data);
    if ("ended" in data) {
      current = undefined;
      this.runButton.disabled = false;
      this.stopButton.hidden = true;
      if (this.status.textContent === "Running …" || data.ended) {
        this.status.textContent = data.ended ? "Done." : "Ended with an error.";
      }
      this.place.dataset.ended = data.ended;
    }
  }

  showEpoch(data) {
    this.epochs.push(data.figures);
    this.place.dataset.epochs = this.epochs.length;
    const figures = Object.entries(data.figures).filter(([name]) => name !== "lr");
    const text = figures.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ");
    this.status.textContent = `Epoch ${data.epoch} of ${data.epochs}: ${text}`;
    if (data.boundary) drawBoundary(this.canvas, data.boundary);
    if (data.filters) drawFilters(this.canvas, data.filters);
    this.canvas.hidden = !(data.boundary || data.filters);
    this.canvas.setAttribute("aria-label", data.boundary ? "The decision boundary" : "The filters");
  }
}

// The class of each part of the plane, the paler the less sure; the points on it.
function drawBoundary(canvas, { side, classes, sure, points, labels }) {
  const context = canvas.getContext("2d");
  const size = canvas.width / side;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < side * side; i++) {
    const [row, col] = [Math.floor(i / side), i % side];
    context.globalAlpha = 0.1 + 0.5 * sure[i] ** 2;
    context.fillStyle = COLOURS[classes[i] % COLOURS.length];
    context.fillRect(col * size, canvas.height - (row + 1) * size, size, size);
  }
  context.globalAlpha = 1;
  points.forEach(([x, y], i) => {
    context.beginPath();
    context.arc(x * canvas.width, (1 - y) * canvas.height, 4, 0, 2 * Math.PI);
    context.fillStyle = COLOURS[labels[i] % COLOURS.length];
    context.fill();
    context.strokeStyle = "#fff";
    context.stroke();
  });
}

// Kernels side by side: blue is negative, white zero, red positive.
function drawFilters(canvas, filters) {
  const context = canvas.getContext("2d");
  const columns = Math.ceil(Math.sqrt(filters.length));
  const room = canvas.width / columns;
  context.clearRect(0, 0, canvas.width, canvas.height);
  filters.forEach((rows, i) => {
    const size = (0.9 * room) / Math.max(rows.length, rows[0].length);
    const [left, top] = [(i % columns) * room + 0.05 * room, Math.floor(i / columns) * room + 0.05 * room];
    rows.forEach((row, y) => row.forEach((value, x) => {
      const pale = Math.round(255 * (1 - Math.abs(value)));
      context.fillStyle = value > 0 ? `rgb(255, ${pale}, ${pale})` : `rgb(${pale}, ${pale}, 255)`;
      context.fillRect(left + x * size, top + y * size, size + 0.5, size + 0.5);
    }));
  });
}

window.nnCells = [...document.querySelectorAll(".nn-try")].map((place) => new Cell(place)); // for tests
