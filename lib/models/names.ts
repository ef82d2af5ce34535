/**
 * The names of the models, without the models: plain data, so that a process which only routes requests
 * need not load graph code.
 */

/** The six variants of the paper: three backbones, each with and without label conditioning. */
export const variantNames = [
  'chexnet',
  'resnet101',
  'vit',
  'chexnet-label',
  'resnet101-label',
  'vit-label',
] as const;
export type VariantName = (typeof variantNames)[number];
export type Backbone = 'chexnet' | 'resnet101' | 'vit';

/** Whether a variant conditions its text on the labels. */
export const isLabelVariant = (variant: string): boolean => variant.endsWith('-label');
export const backboneOf = (variant: VariantName): Backbone =>
  variant.replace(/-label$/, '') as Backbone;
