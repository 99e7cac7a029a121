// Draws at most once per animation frame, however many changes arrive in between.

/** Return a function that asks for `draw` in the next frame; asking again before it costs nothing. */
export function perFrame(draw) {
  let asked = false;
  return function () {
    if (asked) return;
    asked = true;
    requestAnimationFrame(function () {
      asked = false;
      draw();
    });
  };
}
