import sharp, { type OverlayOptions } from 'sharp';
import { observations } from '../../text/labels/observations.ts';
import {
  encodePng,
  type PhantomOptions,
  type PhantomView,
  planStudy,
  renderStudy,
} from './study.ts';

export interface SheetOptions extends PhantomOptions {
  readonly count: number;
  readonly columns: number;
  readonly view: PhantomView;
}

const captionLines = 3;
const lineHeight = 14;
const captionHeight = captionLines * lineHeight + 6;

/** A PNG of the first `count` studies in a grid, each above its labels; `?` marks an uncertain one. */
export async function contactSheet(options: SheetOptions): Promise<Buffer> {
  const { count, columns, size, view } = options;
  const tiles: OverlayOptions[] = [];
  for (let index = 0; index < count; index += 1) {
    const plan = planStudy(options, index);
    const left = (index % columns) * size;
    const top = Math.floor(index / columns) * (size + captionHeight);
    const pixels = await renderStudy(options, plan, view);
    tiles.push({ input: await encodePng(pixels, size), left, top });
    const { labels } = plan.report;
    const names = observations
      .filter((name) => labels[name] === 'positive' || labels[name] === 'uncertain')
      .map((name) => (labels[name] === 'uncertain' ? `${name}?` : name));
    tiles.push({
      input: caption(`${index}: ${names.join(', ') || 'nothing'}`, size),
      left,
      top: top + size,
    });
  }
  const rows = Math.ceil(count / columns);
  return sharp({
    create: {
      width: Math.min(columns, count) * size,
      height: rows * (size + captionHeight),
      channels: 3,
      background: '#000',
    },
  })
    .composite(tiles)
    .png()
    .toBuffer();
}

/** Three lines of text in a strip as wide as the image. */
function caption(text: string, width: number): Buffer {
  const perLine = Math.floor(width / 6.2);
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1) ?? ''} ${word}`.trimStart();
    if (lines.length > 0 && longer.length <= perLine) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const rows = lines
    .slice(0, captionLines)
    .map((line, row) => `<text x="4" y="${13 + lineHeight * row}">${line}</text>`)
    .join('');
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${captionHeight}" ` +
      `font-family="sans-serif" font-size="11" fill="#fff">${rows}</svg>`,
  );
}
