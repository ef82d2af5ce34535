/**
 * Arithmetic on dimensions. A dimension is a number or the canonical text of a polynomial over named
 * symbols (`batch`, `12*batch`, `past + 1`), so that shapes computed in different ways compare
 * equal as plain strings.
 */
export type Dim = number | string;
export type Shape = readonly Dim[];

/** Monomial (sorted symbols joined by `*`, '' for the constant) to its integer coefficient. */
type Polynomial = Map<string, number>;

function parse(dim: Dim): Polynomial {
  if (typeof dim === 'number') return new Map([['', dim]]);
  const terms: Polynomial = new Map();
  for (const term of dim.split(' + ')) {
    const factors = term.split('*');
    const coefficient = /^-?\d+$/.test(factors[0] ?? '') ? Number(factors.shift()) : 1;
    terms.set(factors.join('*'), coefficient);
  }
  return terms;
}

function print(terms: Polynomial): Dim {
  const entries = [...terms].filter(([, coefficient]) => coefficient !== 0);
  if (entries.every(([monomial]) => monomial === '')) return entries[0]?.[1] ?? 0;
  // The constant goes last: `past + 1` reads better than `1 + past`.
  entries.sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  return entries
    .map(([monomial, coefficient]) =>
      monomial === '' || coefficient === 1
        ? monomial || String(coefficient)
        : `${coefficient}*${monomial}`,
    )
    .join(' + ');
}

export function addDims(a: Dim, b: Dim, factor = 1): Dim {
  const sum = parse(a);
  for (const [monomial, coefficient] of parse(b)) {
    sum.set(monomial, (sum.get(monomial) ?? 0) + factor * coefficient);
  }
  return print(sum);
}

export const subtractDims = (a: Dim, b: Dim): Dim => addDims(a, b, -1);

export function multiplyDims(a: Dim, b: Dim): Dim {
  const product: Polynomial = new Map();
  for (const [left, leftCoefficient] of parse(a)) {
    for (const [right, rightCoefficient] of parse(b)) {
      const monomial = [...left.split('*'), ...right.split('*')].filter(Boolean).sort().join('*');
      const coefficient = leftCoefficient * rightCoefficient;
      product.set(monomial, (product.get(monomial) ?? 0) + coefficient);
    }
  }
  return print(product);
}

/** The number of elements of a shape; 1 for a scalar. */
export const sizeOf = (shape: Shape): Dim => shape.reduce<Dim>(multiplyDims, 1);

/** The number a dimension stands for; undefined where a symbol is not given. */
export function evaluateDim(
  dim: Dim,
  symbols: Readonly<Record<string, number>>,
): number | undefined {
  let sum = 0;
  for (const [monomial, coefficient] of parse(dim)) {
    const factors = monomial.split('*').filter(Boolean);
    sum += factors.reduce((product, name) => product * (symbols[name] ?? Number.NaN), coefficient);
  }
  return Number.isNaN(sum) ? undefined : sum;
}

export const isStatic = (shape: Shape): shape is readonly number[] =>
  shape.every((dim) => typeof dim === 'number');

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, axis) => dim === b[axis]);

export const printShape = (shape: Shape): string => `[${shape.join(',')}]`;
