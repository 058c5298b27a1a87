// What the pages do better with a script: forms in dialogs, copying, menus that close. Each of them
// works without it too, as a page of its own.
"use strict";

const dialog = document.getElementById("dialog");
let mustReload = false;
let opener = null;

document.documentElement.classList.add("scripted");

// Answers a request of a dialog: leads on to another page, or shows what came.
async function show(answer) {
  const place = answer.headers.get("Dialog-Location");
  if (place) {
    // Also when only the part behind # or nothing differs: the page has to be read again.
    if (new URL(place, location.href).href === location.href) location.reload();
    else location.assign(place);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const content = page.querySelector("[data-dialog-content]");
  if (!content) throw new Error("no content for a dialog");
  dialog.replaceChildren(document.adoptNode(content));
  dialog.setAttribute("aria-labelledby", "dialog-title");
  mustReload = mustReload || content.hasAttribute("data-reload");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  (content.querySelector("[aria-invalid=true], [autofocus]") ?? content.querySelector("a, button, input"))?.focus();
}

async function open(link) {
  opener = link.closest("details")?.querySelector("summary") ?? link;
  closeMenus();
  try {
    await show(await fetch(link.href, { headers: { Dialog: "1" } }));
  } catch {
    location.assign(link.href);
  }
}

async function send(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  for (const one of form.querySelectorAll("button")) one.disabled = true;
  try {
    await show(await fetch(form.action, { method: "POST", body: fields, headers: { Dialog: "1" } }));
  } catch {
    for (const one of form.querySelectorAll("button")) one.disabled = false;
    let said = form.querySelector("p.error");
    if (!said) {
      said = document.createElement("p");
      said.className = "error";
      said.setAttribute("role", "alert");
      form.prepend(said);
    }
    said.textContent = "The server did not answer. Nothing you typed is lost: try again.";
    button?.focus();
  }
}

async function copy(button) {
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    return;
  }
  button.classList.add("copied");
  label.setAttribute("role", "status");
  label.textContent = "Copied to clipboard";
  button.setAttribute("aria-label", "Copied to clipboard");
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(except)) menu.open = false;
  }
}

document.addEventListener("click", (event) => {
  closeMenus(event.target);
  const link = event.target.closest("a[data-dialog]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (link && plain) {
    event.preventDefault();
    open(link);
  }
  const close = event.target.closest("[data-close]");
  if (close && dialog.contains(close)) {
    event.preventDefault();
    dialog.close();
  }
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  // Beside the dialog is its backdrop.
  if (event.target === dialog && !dialog.querySelector("[data-reload]")) dialog.close();
});

document.addEventListener("submit", (event) => {
  if (dialog.contains(event.target)) {
    event.preventDefault();
    send(event.target, event.submitter);
    return;
  }
  if (event.target.method !== "post") return;
  // A second click would send it again.
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "1";
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || dialog.open) return;
  const menu = document.activeElement?.closest("details.menu[open]");
  closeMenus();
  menu?.querySelector("summary").focus();
});

dialog.addEventListener("close", () => {
  dialog.replaceChildren();
  if (mustReload) location.reload();
  else opener?.focus();
});

// A login came in between: the dialog is opened again, once.
const begun = document.querySelector("a[data-open]");
if (begun) {
  const here = new URL(location.href);
  here.searchParams.delete("open");
  history.replaceState(null, "", here);
  open(begun);
}

// A page that comes back from the browser's memory may have been sent from before.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
