"use strict";
// Draws cells pixel by pixel: all of them, also while the plane is moved, and without a graphics card.
// A shade is a number up to 255 for each cell, and colours has a "#rrggbb" for each shade.
const Raster = (() => {
  const FAINT = 26; // of 255, the opacity of cells beside the chosen ones
  const BEHIND = 0.35; // the opacity of squares behind cells
  const THIN = 110; // of 255, that of a square with a single cell

  // the four bytes of a pixel, opaque as alpha says, as one number of the machine's order (little-endian)
  const pixel = (colour, alpha) => {
    const value = parseInt(colour.slice(1), 16);
    return ((alpha << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
  };

  // first pixel and number of pixels of each row of a disc
  const disc = (side) => Array.from({ length: side }, (_, row) => {
    const up = row + 0.5 - side / 2;
    const half = Math.max(0.5, Math.sqrt(Math.max(0, (side * side) / 4 - up * up)));
    const first = Math.round(side / 2 - half);
    return [first, side - 2 * first];
  });

  class Raster {
    constructor(canvas) {
      this.canvas = canvas;
      this.pen = canvas.getContext("2d", { willReadFrequently: true });
      this.frames = 0;
    }

    // the part of the plane that is seen, and where the canvas stands, in CSS pixels
    place({ left, top, width, height }, [x0, x1, y0, y1]) {
      const dense = window.devicePixelRatio || 1, canvas = this.canvas;
      const [wide, high] = [Math.max(1, Math.round(width * dense)), Math.max(1, Math.round(height * dense))];
      Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
      if (!this.image || canvas.width !== wide || canvas.height !== high) {
        canvas.width = wide; canvas.height = high;
        this.image = this.pen.createImageData(wide, high);
        this.pixels = new Uint32Array(this.image.data.buffer);
      }
      Object.assign(this, { wide, high, dense, x0, y1, across: wide / (x1 - x0), down: high / (y1 - y0) });
    }

    clear() { this.pixels.fill(0); }

    seen(x, y) {
      let sum = 0;
      for (let i = 0; i < x.length; i++) {
        const px = (x[i] - this.x0) * this.across, py = (this.y1 - y[i]) * this.down;
        if (px >= 0 && px < this.wide && py >= 0 && py < this.high) sum++;
      }
      return sum;
    }

    // all cells of a plane as squares, the dense ones over the others where a pixel has several, so that each is seen
    squares(plane, side, { shades, colours, faint, close }) {
      const { wide, high, pixels } = this, { density } = plane;
      plane.order ??= Uint32Array.from(density.keys()).filter((k) => density[k]).sort((a, b) => density[a] - density[b]);
      const inks = Uint32Array.from(colours, (colour) => pixel(colour, 0));
      const step = [0, 1].map((axis) => (plane.high[axis] - plane.low[axis]) / side);
      const edges = (length, where) => Int32Array.from({ length: side + 1 }, (_, k) => Math.max(-1, Math.min(length + 1, Math.round(where(k)))));
      const left = edges(wide, (k) => (plane.low[0] + k * step[0] - this.x0) * this.across);
      const top = edges(high, (k) => (this.y1 - plane.low[1] - k * step[1]) * this.down);
      for (const k of plane.order) {
        const column = k % side, row = (k - column) / side;
        const from = Math.max(0, left[column]), to = Math.min(wide, Math.max(left[column + 1], left[column] + 1));
        const upper = Math.max(0, top[row + 1]), lower = Math.min(high, Math.max(top[row], top[row + 1] + 1));
        const alpha = faint ? FAINT : (THIN + ((255 - THIN) * density[k]) / 255) * (close ? BEHIND : 1);
        const ink = (inks[shades[k]] | (alpha << 24)) >>> 0;
        for (let y = upper; y < lower; y++) for (let x = from; x < to; x++) pixels[y * wide + x] = ink;
      }
    }

    // the cells that chosen has as wanted, as discs of so many CSS pixels; faint where others are chosen
    cells(x, y, { shades, colours, size, chosen, wanted, faint }) {
      const { wide, high, pixels, x0, y1, across, down } = this;
      const side = Math.max(1, Math.round(size * this.dense)), half = (side - 1) / 2, rows = disc(side);
      const inks = Uint32Array.from(colours, (colour) => pixel(colour, faint ? FAINT : 255));
      for (let i = 0; i < x.length; i++) {
        if (chosen && chosen[i] !== wanted) continue;
        const left = Math.round((x[i] - x0) * across - half), top = Math.round((y1 - y[i]) * down - half);
        if (!(left > -side && left < wide && top > -side && top < high)) continue;
        const ink = inks[shades[i]];
        for (let row = 0; row < side; row++) {
          if (top + row < 0 || top + row >= high) continue;
          const from = Math.max(0, left + rows[row][0]), to = Math.min(wide, left + rows[row][0] + rows[row][1]);
          const line = (top + row) * wide;
          for (let k = line + from; k < line + to; k++) pixels[k] = ink;
        }
      }
    }

    show() {
      this.pen.putImageData(this.image, 0, 0);
      this.frames++;
    }
  }
  return Raster;
})();
