// A picture file as the nets expect it: square, grey, small, light on dark.

const LARGEST_FILE = 25e6; // bytes
const LARGEST_PICTURE = 50e6; // pixels: more would take the browser's memory

/** Grey values 0-255 (side x side) of a file, and whether they were inverted; or an Error. */
export async function readPicture(file, side) {
  if (file.size > LARGEST_FILE) {
    throw new Error(`“${file.name}” has ${(file.size / 1e6).toFixed(0)} MB; at most 25 MB are read.`);
  }
  const url = URL.createObjectURL(file);
  try {
    const picture = await load(url, file.name);
    const { naturalWidth: width, naturalHeight: height } = picture;
    if (width * height > LARGEST_PICTURE) {
      throw new Error(`“${file.name}” has ${width} × ${height} pixels; at most 50 million are read.`);
    }
    return lightOnDark(shrink(picture, width || side, height || side, side), side);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function load(url, name) {
  return new Promise((resolve, reject) => {
    const picture = new Image(); // knows its size before it is decoded
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error(`“${name}” is no picture that this browser can read.`));
    picture.src = url;
  });
}

/** Fit a picture into a square, by halves: a browser that shrinks in one step skips pixels. */
function shrink(picture, width, height, side) {
  const scale = side / Math.max(width, height);
  const [w, h] = [width, height].map((length) => Math.max(1, Math.round(length * scale)));
  let source = picture, from = [width, height];
  while (from[0] > 2 * w || from[1] > 2 * h) {
    const to = [Math.max(w, Math.ceil(from[0] / 2)), Math.max(h, Math.ceil(from[1] / 2))];
    source = drawn(source, from, to);
    from = to;
  }
  const data = drawn(source, from, [w, h]).getContext("2d").getImageData(0, 0, w, h).data;
  const grey = new Float32Array(w * h);
  grey.forEach((_, i) => { // the weights of ITU-R 601, as Pillow's
    grey[i] = Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
  });
  return { grey, w, h };
}

function drawn(source, [width, height], [w, h]) {
  const canvas = document.createElement("canvas");
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // behind what is transparent: paper
  context.fillRect(0, 0, w, h);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height, 0, 0, w, h);
  return canvas;
}

/** Put into the square, on black: a light border means that the picture is dark on light. */
function lightOnDark({ grey, w, h }, side) {
  let sum = 0, count = 0;
  grey.forEach((value, i) => {
    const x = i % w, y = Math.floor(i / w);
    if (x === 0 || y === 0 || x === w - 1 || y === h - 1) { sum += value; count += 1; }
  });
  const inverted = sum / count > 127;
  const pixels = new Float32Array(side * side);
  const left = Math.floor((side - w) / 2), top = Math.floor((side - h) / 2);
  grey.forEach((value, i) => {
    const x = left + (i % w), y = top + Math.floor(i / w);
    pixels[y * side + x] = inverted ? 255 - value : value;
  });
  return { pixels, inverted };
}
