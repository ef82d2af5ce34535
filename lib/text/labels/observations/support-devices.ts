import type { ObservationRules } from '../rules.ts';

export const supportDevices: ObservationRules = {
  mentions: [
    /\bpace(?:r|rs|makers?)\b/,
    /\blines?\b/,
    /\bpicc\b/,
    /\btubes?\b/,
    /\bvalv(?:es?)\b/,
    /\bcatheters?\b/,
    /\bhardware\b/,
    /\barthroplast\w+/,
    /\bmarkers?\b/,
    /\bicd\b/,
    /\bdefib\w*/,
    /\bdevices?\b/,
    /\bdrains?\b/,
    /\bplates?\b/,
    /\bscrews?\b/,
    /\bcannulae?\b/,
    /\bapparatus\b/,
    /\bcoils?\b/,
    /\bsupport\b/,
    /\bequipment\b/,
    /\bmediports?\b/,
    /\bports?\b/,
    /\b(?:sternal|sternotomy|cerclage) wires?\b/,
  ],
  // Kerley lines are thickened septa, the pleural line is the edge of the lung.
  unmentions: [/\b(?:kerley(?: [abc])?|pleural|septal) lines?\b/],
};
