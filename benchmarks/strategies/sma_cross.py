"""W1: long one unit while the average of 10 closes is above that of 30. Also what the command line is timed on."""

from weaver import Strategy
from weaver.indicators import sma


class SmaCross(Strategy):
    fast: int = 10
    slow: int = 30

    def on_start(self):
        self.fast_ma = self.indicator(sma, self.bars.close, self.fast)
        self.slow_ma = self.indicator(sma, self.bars.close, self.slow)

    def on_bar(self, bar):
        if self.fast_ma[-1] > self.slow_ma[-1] and not self.position:
            self.buy(quantity=1)
        elif self.fast_ma[-1] < self.slow_ma[-1] and self.position:
            self.close()
