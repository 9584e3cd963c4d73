// The ways in for images and tokens: a file picker, a drop, the clipboard.

/** Call `on.image(file)` and `on.tokens(text)` with what the user brings. */
export function takeIn(on) {
  const take = (file) => {
    if (!file) return;
    if (isJson(file)) file.text().then(on.tokens);
    else on.image(file);
  };

  for (const id of ["file", "load"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      take(input.files[0]);
      input.value = ""; // the same file again is a change, too
    });
  }

  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer.files[0]);
  });

  addEventListener("paste", (event) => {
    if (event.target.matches("input:not([type=file], [type=range], [type=radio], [type=checkbox])")) return;
    const [file] = event.clipboardData.files;
    const text = event.clipboardData.getData("text/plain");
    if (file) take(file);
    else if (text) on.tokens(text);
  });
}

function isJson(file) {
  return file.type === "application/json" || file.name.endsWith(".json");
}
