"""The forms of the pages."""

from django import forms

from library.models import Review


class SearchForm(forms.Form):
    q = forms.CharField(required=False, max_length=100)
    genre = forms.SlugField(required=False)


class ReviewForm(forms.ModelForm):
    class Meta:
        model = Review
        fields = ("reader", "rating", "text")
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}  # noqa: RUF012 - read by Django only


class UploadForm(forms.Form):
    file = forms.FileField(label="A file, which is measured and thrown away")


class StreamForm(forms.Form):
    lines = forms.IntegerField(min_value=1, max_value=1_000_000, required=False)
    delay = forms.FloatField(min_value=0, max_value=60, required=False)
