// The page of the chat view: shows the turns that the host sends, sends what the user does.

import { render } from "./markdown";

/** The state is the question that is not sent yet: a page that is hidden is thrown away. */
declare function acquireVsCodeApi(): {
  postMessage(message: unknown): void;
  getState(): string | undefined;
  setState(state: string): void;
};

/** From the host. `text` of an answer is all that has come of it. */
export type ToPage =
  | { type: "turns"; turns: { role: "user" | "assistant"; text: string; note?: string }[] }
  | { type: "answer"; text: string; note: string }
  | { type: "busy"; busy: boolean }
  | { type: "focus" }
  | { type: "back"; text: string } // a question that nobody could be asked
  | { type: "about"; text: string };

export type FromPage =
  | { type: "ready" }
  | { type: "ask"; text: string }
  | { type: "stop" }
  | { type: "insert" | "copy" | "apply"; code: string }
  | { type: "link"; target: string };

const host = acquireVsCodeApi();
const send = (message: FromPage) => host.postMessage(message);
const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [turns, question, about] = [element("turns"), element<HTMLTextAreaElement>("question"), element("about")];
const [ask, stop] = [element<HTMLButtonElement>("ask"), element<HTMLButtonElement>("stop")];

function show(role: "user" | "assistant", text: string, note = ""): HTMLElement {
  const turn = document.createElement("article");
  turn.className = role;
  turn.setAttribute("aria-label", role === "user" ? "you" : "answer");
  fill(turn, text, note);
  turns.append(turn);
  return turn;
}

function fill(turn: HTMLElement, text: string, note: string): void {
  if (turn.className === "user") {
    turn.textContent = text;
  } else {
    turn.innerHTML = render(text);
  }
  if (note) {
    const line = document.createElement("p");
    line.className = "note";
    line.textContent = note;
    turn.append(line);
  }
}

let latest: (ToPage & { type: "answer" }) | undefined;

function paint(): void {
  const answer = turns.lastElementChild;
  if (latest && answer instanceof HTMLElement) {
    const atEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 40;
    fill(answer, latest.text, latest.note);
    if (atEnd) {
      turns.scrollTop = turns.scrollHeight;
    }
  }
  latest = undefined;
}

window.addEventListener("message", ({ data }: MessageEvent<ToPage>) => {
  switch (data.type) {
    case "turns":
      turns.replaceChildren();
      data.turns.forEach(({ role, text, note }) => show(role, text, note));
      document.body.classList.toggle("empty", data.turns.length === 0);
      turns.scrollTop = turns.scrollHeight;
      break;
    case "answer":
      if (!latest) {
        requestAnimationFrame(paint); // at most once a frame, however fast it comes
      }
      latest = data;
      break;
    case "busy":
      document.body.classList.toggle("busy", data.busy);
      ask.disabled = data.busy;
      turns.setAttribute("aria-busy", String(data.busy));
      break;
    case "back":
      question.value = data.text;
      host.setState(data.text);
      break;
    case "focus":
      question.focus();
      break;
    case "about":
      about.textContent = data.text;
  }
});

function submit(): void {
  const text = question.value.trim();
  if (text && !ask.disabled) {
    question.value = "";
    host.setState("");
    send({ type: "ask", text });
  }
}

question.value = host.getState() ?? "";
question.addEventListener("input", () => host.setState(question.value));
ask.addEventListener("click", submit);
stop.addEventListener("click", () => send({ type: "stop" }));
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  } else if (event.key === "Escape") {
    send({ type: "stop" });
  }
});
turns.addEventListener("click", (event) => {
  const clicked = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-do], [data-link]") : null;
  const { do: action, link } = clicked?.dataset ?? {};
  if (link !== undefined) {
    event.preventDefault();
    send({ type: "link", target: link });
  } else if (action === "insert" || action === "copy" || action === "apply") {
    const code = clicked?.closest(".code")?.querySelector("code")?.textContent ?? "";
    send({ type: action, code: code.replace(/\n$/, "") });
  }
});
send({ type: "ready" });
