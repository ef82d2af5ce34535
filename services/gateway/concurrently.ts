/**
 * Works on items as they arrive, at most `limit` at a time, and yields the results as they complete, in
 * any order. An item is taken from the source only when there is room for it. `work` must not throw.
 */
export async function* concurrently<Item, Result>(
  items: AsyncIterable<Item>,
  limit: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  type Done = { readonly id: number; readonly result: Result };
  const running = new Map<number, Promise<Done>>();
  const source = items[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<Item>> | undefined = source.next();
  try {
    for (let id = 0; next !== undefined || running.size > 0;) {
      const coming = running.size < limit ? next : undefined;
      const turn: Done | IteratorResult<Item> = await Promise.race([
        ...running.values(),
        ...(coming === undefined ? [] : [coming]),
      ]);
      if ('id' in turn) {
        running.delete(turn.id);
        yield turn.result;
      } else if (turn.done === true) {
        next = undefined;
      } else {
        const mine = id++;
        const item = turn.value;
        running.set(
          mine,
          work(item).then((result) => ({ id: mine, result })),
        );
        next = source.next();
      }
    }
  } finally {
    next?.catch(() => {});
    await source.return?.();
  }
}
