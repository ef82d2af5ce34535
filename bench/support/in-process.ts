import { decodeImage } from '../../lib/image/decode.ts';
import { preprocess } from '../../lib/inference/normalization.ts';
import { isLabelVariant } from '../../lib/models/variants.ts';
import { parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { promptText } from '../../lib/inference/prompt.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';
import { GeneratorModel } from '../../services/generator/model.ts';
import { LabelerModel } from '../../services/labeler/model.ts';
import { VisionModel } from '../../services/vision/model.ts';

export interface InProcess {
  /** One study through the same models, without a queue, a hop or a process between them. */
  report(picture: Uint8Array): Promise<string>;
  dispose(): Promise<void>;
}

/** The models of a release in this process, each in a worker as in its service. */
export async function loadInProcess(
  release: OpenedRelease,
  threads: number,
  maxBatch: number,
): Promise<InProcess> {
  const backend = { intraOpThreads: threads };
  const vision = await VisionModel.load(release, backend, maxBatch);
  const labeler = await LabelerModel.load(release, backend, maxBatch);
  const options = { backend, maxRows: maxBatch, onRun: () => {} };
  const writer = await GeneratorModel.load(release, options);
  const { variant, preprocessing, decoding } = release.manifest;
  return {
    report: async (picture) => {
      const image = await preprocess(await decodeImage(picture), preprocessing);
      const [embedding] = await vision.embed([image]);
      const { tokens, tokensShape, pooled } = embedding!;
      const [labels = []] = await labeler.classify([pooled]);
      const text = promptText(isLabelVariant(variant), labels, '');
      const { ids } = await writer.generator.generate(
        {
          tokens: { dtype: 'float32', shape: tokensShape, data: Float32Array.from(tokens) },
          textIds: writer.encoderTokenizer.encode(text),
        },
        parseDecodingOptions(decoding),
      );
      return writer.decoderTokenizer.decode(ids);
    },
    dispose: async () => {
      for (const model of [vision, labeler, writer]) await model.dispose();
    },
  };
}
