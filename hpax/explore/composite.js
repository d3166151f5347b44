"use strict";
// a field's picture out of its channels, whose grey planes lie one below the other in a JPEG
class Composite {
  constructor(channels) { this.channels = channels; } // names and colours, each a share of red, green and blue

  take(image) {
    const draft = document.createElement("canvas"), pen = draft.getContext("2d", { willReadFrequently: true });
    [draft.width, draft.height] = [image.width, image.height];
    pen.drawImage(image, 0, 0);
    const { data } = pen.getImageData(0, 0, image.width, image.height);
    [this.width, this.height] = [image.width, image.height / this.channels.length];
    this.light = Uint8Array.from({ length: data.length / 4 }, (_, k) => data[4 * k]);
  }

  // the channels that are shown, added up, each with so much of its light
  draw(pen, shown, gain) {
    const picture = new ImageData(this.width, this.height), size = this.width * this.height;
    for (let k = 0; k < size; k++) picture.data[4 * k + 3] = 255;
    this.channels.forEach(({ colour }, number) => {
      if (!shown[number]) return;
      colour.forEach((share, part) => {
        if (!share) return;
        for (let k = 0, from = number * size; k < size; k++) picture.data[4 * k + part] += share * gain * this.light[from + k];
      });
    });
    pen.putImageData(picture, 0, 0);
  }
}
