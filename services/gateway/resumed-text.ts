import { DomainError } from '../../lib/errors.ts';
import type { GenerationListener, TextDelta } from './chain.ts';

/**
 * The text of a generation that may be started again on another replica: text that was passed on
 * before is left out. The same request gives the same text; if it does not, the generation fails,
 * because what was sent cannot be taken back.
 */
export class ResumedText {
  readonly #listener: GenerationListener | undefined;
  #accepted = false;
  #isRestarted = false;
  #passedOn = '';
  #text = '';

  constructor(listener: GenerationListener | undefined) {
    this.#listener = listener;
  }

  /** A generation starts, or starts again. */
  start(): void {
    this.#isRestarted = this.#passedOn !== '';
    this.#text = '';
  }

  /** The generator has accepted the request; the listener learns it once. */
  accept(): void {
    if (this.#accepted) return;
    this.#accepted = true;
    this.#listener?.onAccepted();
  }

  /** Throws GENERATION_DIVERGED. */
  add({ text, tokens }: TextDelta): void {
    this.#text += text;
    const known = Math.min(this.#text.length, this.#passedOn.length);
    if (this.#text.slice(0, known) !== this.#passedOn.slice(0, known)) throw diverged();
    if (this.#text.length <= this.#passedOn.length) return;
    const rest = this.#text.slice(this.#passedOn.length);
    this.#passedOn = this.#text;
    this.#listener?.onText({ text: rest, tokens });
  }

  /** Checks the complete text of a generation that was started again. Throws GENERATION_DIVERGED. */
  end(text: string): void {
    if (this.#isRestarted && !text.startsWith(this.#passedOn)) throw diverged();
  }
}

const diverged = (): DomainError =>
  new DomainError(
    'INTERNAL',
    'GENERATION_DIVERGED',
    'the generator wrote another text when it was started again; send the request again',
  );
