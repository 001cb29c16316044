// What the status bar says, as a pure function of what the server said last.

/** Of the notification `cl-lsp/status`, and what only the extension knows. */
export interface State {
  state: "idle" | "thinking" | "loading" | "error" | "off" | "starting" | "missing" | "stopped";
  message?: string | undefined;
  model?: string | null | undefined;
  last_ms?: number | null | undefined;
  reason?: string | null | undefined;
}

export interface Shown {
  text: string;
  tooltip: string;
  severity: "none" | "warning" | "error";
}

const ICONS: Record<State["state"], string> = {
  idle: "$(sparkle)",
  thinking: "$(sparkle)", // a spinner at every key would only distract
  loading: "$(loading~spin)",
  starting: "$(loading~spin)",
  error: "$(warning)",
  off: "$(circle-slash)",
  missing: "$(warning)",
  stopped: "$(warning)",
};
const SEVERITIES: Partial<Record<State["state"], Shown["severity"]>> = {
  error: "warning",
  missing: "error",
  stopped: "error",
};
const WORDS: Record<State["state"], string> = {
  idle: "ready",
  thinking: "asking the model",
  loading: "loading the model",
  starting: "starting the language server",
  error: "there is a problem",
  off: "paused",
  missing: "the language server is not installed",
  stopped: "the language server has stopped",
};

export function shown(state: State): Shown {
  const model = state.model ? ` ${modelName(state.model)}` : "";
  const time = state.last_ms != null && state.state !== "off" ? ` ${Math.round(state.last_ms)} ms` : "";
  const lines = [
    `cl-lsp: ${state.message || WORDS[state.state]}`,
    ...(state.model ? [`model: ${state.model}`] : []),
    ...(state.last_ms != null ? [`last suggestion: ${Math.round(state.last_ms)} ms`] : []),
    ...(state.reason ? [`no suggestion: ${state.reason}`] : []),
    "click for the menu",
  ];
  return {
    text: `${ICONS[state.state]} cl${model}${time}`,
    tooltip: lines.join("\n"),
    severity: SEVERITIES[state.state] ?? "none",
  };
}

/** The last part of a hub's id or of a directory. */
export function modelName(model: string): string {
  return model.split(/[\\/]/).filter(Boolean).pop() ?? model;
}
