// Runs Python in a thread of its own: Pyodide with NumPy and nn.
//
// Messages from the page: {pyodide, archive}, the addresses of Pyodide and of the archive with nn,
// then {code} of a cell. Messages to it: {status}, {text} that was printed, the figures of an epoch
// (see watch.py), and {ended: true or false} when a cell has ended without or with an error.

let python;

async function start({ pyodide, archive }) {
  postMessage({ status: "Loading Python …" });
  const { loadPyodide } = await import(`${pyodide}pyodide.mjs`);
  python = await loadPyodide({ indexURL: pyodide });
  const print = { batched: (text) => postMessage({ text }) };
  python.setStdout(print);
  python.setStderr(print);
  postMessage({ status: "Loading NumPy …" });
  await python.loadPackage("numpy", { messageCallback: () => {} });
  postMessage({ status: "Loading nn …" });
  const response = await fetch(archive);
  if (!response.ok) throw new Error(`${archive}: ${response.status} ${response.statusText}`);
  python.unpackArchive(await response.arrayBuffer(), "zip");
  python.registerJsModule("page", { post: (json) => postMessage(JSON.parse(json)) });
  python.runPython("import watch");
}

let ready;

addEventListener("message", async ({ data }) => {
  try {
    if (data.pyodide) {
      ready = start(data);
      await ready;
      return;
    }
    await ready;
    postMessage({ status: "Running …" });
    const watch = python.pyimport("watch");
    postMessage({ ended: watch.run(data.code) });
  } catch (error) {
    const cause = navigator.onLine === false || /fetch/i.test(error.message) ? "It needs the internet once. " : "";
    postMessage({ status: `It could not be started. ${cause}(${error.message})`, ended: false });
  }
});
