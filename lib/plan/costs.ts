import type { Backbone } from '../models/variants.ts';

/**
 * What each stage costs on a device. A run of a model over b requests takes `fixedMs + b * itemMs`.
 * Durations in milliseconds of the `paper` preset at 512 x 512, float32 weights.
 */
export interface StageCosts {
  readonly vision: Readonly<Record<Backbone, BatchCost>>;
  readonly labeler: BatchCost;
  readonly generator: GeneratorCost;
}

export interface BatchCost {
  readonly fixedMs: number;
  readonly itemMs: number;
}

/** A request costs one prefill (the fusion encoder), then a share of every step of the running batch. */
export interface GeneratorCost {
  readonly prefillMs: number;
  /** One step of the decoder over n reports takes `stepFixedMs + n * stepRowMs`. */
  readonly stepFixedMs: number;
  readonly stepRowMs: number;
}

export interface Device {
  /** `measured`, and where, or `estimated`, and how. */
  readonly source: string;
  readonly memoryGiB: number;
  readonly costs: StageCosts;
}

/** Arithmetic of one image at 512 x 512, as `radscribe models` counts it, and kernels of one run. */
const visionWork: Readonly<Record<Backbone, { gflop: number; kernels: number }>> = {
  chexnet: { gflop: 29.6, kernels: 370 },
  resnet101: { gflop: 81.5, kernels: 210 },
  vit: { gflop: 214, kernels: 250 },
};
/** Fusion encoder over 256 + 66 positions, and its keys and values for the decoder. */
const prefillGflop = 84;
/** Bytes that one step of the decoder reads for any batch: its weights and the output layer. */
const stepGB = 0.45;
const stepKernels = 420;
/** Bytes a report adds to each step: its cross-attention and its own keys and values. */
const rowGB = 0.026;
/** Launching one kernel through ONNX Runtime. */
const kernelMs = 0.008;

interface Accelerator {
  readonly memoryGiB: number;
  /** Dense TF32, which the CUDA provider uses for float32. */
  readonly tflops: number;
  readonly bandwidthGBs: number;
}

/** From the vendor's data sheets. */
const accelerators: Readonly<Record<string, Accelerator>> = {
  h200: { memoryGiB: 141, tflops: 494, bandwidthGBs: 4800 },
  h100: { memoryGiB: 80, tflops: 494, bandwidthGBs: 3350 },
  a100: { memoryGiB: 80, tflops: 156, bandwidthGBs: 2039 },
  l4: { memoryGiB: 24, tflops: 60, bandwidthGBs: 300 },
};

/** Shares of peak arithmetic and of peak bandwidth that are reached in practice. */
const computeShare = 0.35;
const bandwidthShare = 0.6;

/** Roofline: the launches of the kernels, plus the longer of arithmetic and memory traffic. */
function estimate({ memoryGiB, tflops, bandwidthGBs }: Accelerator): Device {
  const arithmeticMs = (gflop: number) => gflop / (tflops * computeShare);
  const readMs = (gigabytes: number) => (gigabytes / (bandwidthGBs * bandwidthShare)) * 1000;
  const vision = (backbone: Backbone): BatchCost => ({
    fixedMs: visionWork[backbone].kernels * kernelMs,
    itemMs: arithmeticMs(visionWork[backbone].gflop),
  });
  return {
    source: `estimated from the data sheet: ${tflops} TFLOP/s TF32 at ${computeShare * 100} %, ${bandwidthGBs} GB/s at ${bandwidthShare * 100} %, ${kernelMs * 1000} us per kernel; measure your device and pass --costs`,
    memoryGiB,
    costs: {
      vision: { chexnet: vision('chexnet'), resnet101: vision('resnet101'), vit: vision('vit') },
      labeler: { fixedMs: 4 * kernelMs, itemMs: 0.001 },
      generator: {
        prefillMs: 400 * kernelMs + arithmeticMs(prefillGflop),
        stepFixedMs: stepKernels * kernelMs + readMs(stepGB),
        stepRowMs: readMs(rowGB),
      },
    },
  };
}

export const devices: Readonly<Record<string, Device>> = {
  cpu: {
    source:
      'measured on two AVX2 cores (118-148 GFLOP/s, 21-30 GB/s), onnxruntime-node 1.30, medians; the prefill is computed from its arithmetic at 112 GFLOP/s',
    memoryGiB: 24,
    costs: {
      vision: {
        chexnet: { fixedMs: 0, itemMs: 240 },
        resnet101: { fixedMs: 0, itemMs: 700 },
        vit: { fixedMs: 0, itemMs: 1640 },
      },
      labeler: { fixedMs: 0.05, itemMs: 0.01 },
      // 27.7 ms a step for one report, 69 ms for eight.
      generator: { prefillMs: 750, stepFixedMs: 21.8, stepRowMs: 5.9 },
    },
  },
  ...Object.fromEntries(Object.entries(accelerators).map(([name, card]) => [name, estimate(card)])),
};
