// From the pixels on the page to the numbers that the network takes.
//
// A plane is {width, height, data}, where data is a Float32Array with a value in [0, 1] for each
// pixel, row by row. `digit` does what nn.data.normalize_digit does for a drawing: a digit of
// MNIST's size, stroke width and position (see the documentation of that function).

const SIDE = 28; // pixels of an image of MNIST
const BOX = 20; // pixels of the box around its digit
const CENTRE = 14; // row and column of the centres of mass in MNIST
const STROKE = 2.2; // the width in pixels that thinner strokes are thickened to
const LIGHT_BLUR = 0.4; // pixels, a standard deviation
const CONTRAST = 0.1; // an image with less between paper and ink is empty

export function plane(width, height) {
  return { width, height, data: new Float32Array(width * height) };
}

// The channels of a canvas: three planes for colours, or one of grey values (ITU-R BT.601).
export function channelsOf(canvas, channels) {
  const { width, height } = canvas;
  const bytes = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height).data;
  const planes = Array.from({ length: channels }, () => plane(width, height));
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2]];
    if (channels === 3) {
      planes[0].data[i] = r / 255;
      planes[1].data[i] = g / 255;
      planes[2].data[i] = b / 255;
    } else {
      planes[0].data[i] = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
    }
  }
  return planes;
}

// The part of a plane between two rows and two columns.
export function crop(image, top, left, height, width) {
  const part = plane(width, height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * image.width + left;
    part.data.set(image.data.subarray(start, start + width), y * width);
  }
  return part;
}

// Resize with a triangle filter, which averages over all pixels if the image becomes smaller.
export function resize(image, height, width) {
  return transpose(resizeRows(transpose(resizeRows(image, width)), height));
}

function resizeRows(image, width) {
  const scale = image.width / width;
  const reach = Math.max(scale, 1);
  const resized = plane(width, image.height);
  for (let x = 0; x < width; x++) {
    const middle = (x + 0.5) * scale;
    const first = Math.max(0, Math.floor(middle - reach));
    const last = Math.min(image.width, Math.ceil(middle + reach));
    const weights = [];
    for (let i = first; i < last; i++) {
      weights.push(Math.max(0, 1 - Math.abs((i + 0.5 - middle) / reach)));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let y = 0; y < image.height; y++) {
      let sum = 0;
      for (let i = first; i < last; i++) sum += weights[i - first] * image.data[y * image.width + i];
      resized.data[y * width + x] = sum / total;
    }
  }
  return resized;
}

function transpose(image) {
  const turned = plane(image.height, image.width);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      turned.data[x * image.height + y] = image.data[y * image.width + x];
    }
  }
  return turned;
}

// ------------------------------------------------------------------------------------ digits

// The digit in a plane of grey values as an image of MNIST; null if there is no ink.
export function digit(grey) {
  const ink = findInk(grey);
  if (!ink) return null;
  const box = boundsOf(ink, 0);
  return centred(fitted(crop(ink, box.top, box.left, box.height, box.width)));
}

// The ink, 0 to 1: what differs from the paper, which is the median of the border.
function findInk(grey) {
  const { width, height, data } = grey;
  const border = [];
  for (let x = 0; x < width; x++) border.push(data[x], data[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(data[y * width], data[(y + 1) * width - 1]);
  const paper = percentile(border, 50);
  const differences = data.map((value) => value - paper);
  const most = differences.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  if (most < CONTRAST) return null;
  const darker = differences.filter((value) => value < -most / 2).length;
  const lighter = differences.filter((value) => value > most / 2).length;
  const sign = darker > lighter ? -1 : 1;
  const bold = differences.map((value) => sign * value).filter((value) => value > most / 2);
  const level = bold.reduce((sum, value) => sum + value, 0) / bold.length;
  const ink = plane(width, height);
  differences.forEach((value, i) => {
    const amount = sign * value;
    ink.data[i] = amount < 0.1 * level ? 0 : Math.min(amount / level, 1);
  });
  return ink;
}

// The smallest box with all pixels that are larger than a threshold.
function boundsOf(image, threshold) {
  let [top, left, bottom, right] = [image.height, image.width, -1, -1];
  image.data.forEach((value, i) => {
    if (value <= threshold) return;
    const [y, x] = [Math.floor(i / image.width), i % image.width];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
  });
  return { top, left, height: bottom - top + 1, width: right - left + 1 };
}

// A long stroke has the area length * width and the outline 2 * length; steps between pixels
// count the outline 4 / pi times on the average of all directions.
function strokeWidth(ink) {
  const inked = (y, x) =>
    y >= 0 && y < ink.height && x >= 0 && x < ink.width && ink.data[y * ink.width + x] > 0.5 ? 1 : 0;
  let [area, steps] = [0, 0];
  for (let y = -1; y < ink.height; y++) {
    for (let x = -1; x < ink.width; x++) {
      area += inked(y, x);
      steps += Math.abs(inked(y, x) - inked(y, x + 1)) + Math.abs(inked(y, x) - inked(y + 1, x));
    }
  }
  return (2 * area) / ((steps * Math.PI) / 4);
}

// The digit scaled to its box, in the middle of an image of twice MNIST's size.
function fitted(ink) {
  const longer = Math.max(ink.width, ink.height);
  const missing = Math.max(0, STROKE - (strokeWidth(ink) * BOX) / longer);
  const scale = (BOX - missing) / longer; // the blur adds the missing width all around
  const height = Math.max(1, Math.round(ink.height * scale));
  const width = Math.max(1, Math.round(ink.width * scale));
  const small = resize(ink, height, width);
  let image = plane(2 * SIDE, 2 * SIDE);
  const [top, left] = [SIDE - Math.floor(height / 2), SIDE - Math.floor(width / 2)];
  for (let y = 0; y < height; y++) {
    image.data.set(small.data.subarray(y * width, (y + 1) * width), (top + y) * image.width + left);
  }
  // A stroke of width w has the variance w^2 / 12; a blur adds its own.
  const thin = STROKE - missing;
  const sigma = Math.sqrt(LIGHT_BLUR ** 2 + (STROKE ** 2 - thin ** 2) / 12);
  image = transpose(blurRows(transpose(blurRows(image, sigma)), sigma));
  const half = image.data.reduce((largest, value) => Math.max(largest, value), 0) / 2;
  const core = percentile(image.data.filter((value) => value > half), 80);
  image.data = image.data.map((value) => Math.min(value / core, 1));
  return image;
}

function blurRows(image, sigma) {
  const reach = Math.ceil(6 * sigma);
  const weights = [];
  for (let i = -reach; i <= reach; i++) weights.push(Math.exp(-0.5 * (i / sigma) ** 2));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const blurred = plane(image.width, image.height);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      let sum = 0;
      for (let i = -reach; i <= reach; i++) {
        if (x + i >= 0 && x + i < image.width) {
          sum += weights[i + reach] * image.data[y * image.width + x + i];
        }
      }
      blurred.data[y * image.width + x] = sum / total;
    }
  }
  return blurred;
}

// The 28 x 28 pixels around the centre of mass, in which the whole digit lies.
function centred(image) {
  let [mass, row, column] = [0, 0, 0];
  image.data.forEach((value, i) => {
    mass += value;
    row += value * Math.floor(i / image.width);
    column += value * (i % image.width);
  });
  const box = boundsOf(image, 0.1);
  const start = (middle, first, size) =>
    Math.min(Math.max(Math.round(middle - CENTRE), first + size - SIDE), first);
  const top = start(row / mass, box.top, box.height);
  const left = start(column / mass, box.left, box.width);
  return crop(image, top, left, SIDE, SIDE);
}

// The percentile as NumPy computes it, between two values linearly.
function percentile(values, percent) {
  const sorted = Float32Array.from(values).sort();
  const place = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}
