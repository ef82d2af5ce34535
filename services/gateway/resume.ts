import { DomainError } from '../../lib/errors.ts';
import type { Piece } from './chain.ts';

/**
 * A generation that outlives the death of its replica once: it is begun anew elsewhere, and what was
 * sent already is left out. The same request gives the same text; should it not, the stream fails as
 * the replica did, because what was sent cannot be taken back.
 */
export async function* resuming(generate: () => AsyncIterable<Piece>): AsyncGenerator<Piece> {
  let sent = '';
  let failure: DomainError | undefined;
  for (;;) {
    let text = '';
    try {
      for await (const piece of generate()) {
        text = piece.kind === 'text' ? text + piece.text : piece.generation.text;
        const common = Math.min(text.length, sent.length);
        const diverged = text.slice(0, common) !== sent.slice(0, common);
        if (failure && (diverged || (piece.kind === 'end' && text.length < sent.length))) {
          throw failure;
        }
        if (piece.kind === 'end') {
          yield piece;
          return;
        }
        if (text.length <= sent.length) continue;
        yield { ...piece, text: text.slice(sent.length) };
        sent = text;
      }
      throw new DomainError('INTERNAL', 'GENERATION_INCOMPLETE', 'the generator sent no result');
    } catch (error) {
      const again = error instanceof DomainError && error.code === 'UNAVAILABLE' && !failure;
      if (!again) throw error;
      failure = error;
    }
  }
}
