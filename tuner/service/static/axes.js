// What the charts share: colours of the page, round ticks, axes, and canvases as sharp as the screen.

const FONT = "11px system-ui, Helvetica, Arial, sans-serif";
const NAMES = ["ink", "soft", "line", "page", "baseline", "periodic", "dynamic", "good", "shade"];

/** Return the page's colours by name, as they are now. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Call back when the colours change, by the reader's choice or the system's. */
export function onColours(change) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", change);
  window.addEventListener("tuner:theme", change);
  return function () {
    dark.removeEventListener("change", change);
    window.removeEventListener("tuner:theme", change);
  };
}

/** Return about `count` round numbers from low to high. */
export function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step || 0);
  return found;
}

/** Give a canvas the size of its place in pixels of the screen; return the factor between them. */
export function sharpen(canvas, width, height) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  return ratio;
}

/**
 * Draw axes with their grid.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{x: (v: number) => number, y: (v: number) => number, box: {left: number, top: number,
 *   right: number, bottom: number}, xs: number[], ys: number[], xTitle: string,
 *   yText: (v: number) => string}} plot
 * @param {Object<string, string>} palette
 */
export function drawAxes(context, plot, palette) {
  const { box } = plot;
  context.font = FONT;
  context.lineWidth = 1;
  context.strokeStyle = palette.line;
  context.fillStyle = palette.soft;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.beginPath();
  for (const value of plot.ys) {
    const y = Math.round(plot.y(value)) + 0.5;
    context.moveTo(box.left, y);
    context.lineTo(box.right, y);
    context.fillText(plot.yText(value), box.left - 6, y);
  }
  context.stroke();
  context.textAlign = "center";
  context.textBaseline = "top";
  context.beginPath();
  context.strokeStyle = palette.soft;
  context.moveTo(box.left, box.bottom + 0.5);
  context.lineTo(box.right, box.bottom + 0.5);
  for (const value of plot.xs) {
    const x = Math.round(plot.x(value)) + 0.5;
    context.moveTo(x, box.bottom);
    context.lineTo(x, box.bottom + 4);
    context.fillText(value.toLocaleString("en"), x, box.bottom + 7);
  }
  context.stroke();
  context.textAlign = "right";
  context.fillStyle = palette.ink;
  context.fillText(plot.xTitle, box.right, box.bottom + 21);
}

/** Write a short text on a background that keeps it readable above lines. */
export function drawLabel(context, text, x, y, colour, palette) {
  context.font = FONT;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const width = context.measureText(text).width;
  context.fillStyle = palette.page;
  context.globalAlpha = 0.85;
  context.fillRect(x - 3, y - 8, width + 6, 16);
  context.globalAlpha = 1;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}
